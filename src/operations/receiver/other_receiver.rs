//! Finds out whether the receiver that responds is the one that has the store open.

use crate::view::ReceiverStatusView;

/// Why what responds at the address of the settings is not the receiver of the store at `location`; `None` if it is,
/// and if nothing responds. `store_instance` is the id of the receiver that opened the store last.
pub(crate) fn find_other_receiver(
    receiver: &ReceiverStatusView,
    store_instance: Option<&str>,
    location: &str,
) -> Option<String> {
    const NEXT_STEP: &str = "run the command with the settings of the receiver that responds (-C names its folder), or set PORT \
                             to the port of the receiver of this store";
    let url = &receiver.url;
    match (&receiver.instance, store_instance) {
        _ if !receiver.up => None,
        (Some(there), Some(here)) if there == here => None,
        (Some(there), Some(here)) => Some(format!(
            "another receiver responds at {url}: it is the instance {there}, and the store {location} was opened by the instance \
             {here}; {NEXT_STEP}"
        )),
        // The database of the receiver that responds may have been deleted; its response says so.
        (Some(_), None) if !receiver.ready => None,
        (Some(there), None) => Some(format!(
            "another receiver responds at {url}: it is the instance {there}, and no receiver has opened the store {location}; \
             {NEXT_STEP}"
        )),
        (None, _) => {
            Some(format!("a program that is not a receiver responds at {url}; set PORT to the port of the receiver"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_receiver_of_the_store_is_no_other_receiver() {
        let found = |up: bool, there: Option<&str>, here: Option<&str>| {
            let url = "http://127.0.0.1:8000".to_owned();
            let receiver = ReceiverStatusView {
                url,
                up,
                ready: up,
                instance: there.map(str::to_owned),
                warnings: Vec::new(),
                response: None,
            };
            find_other_receiver(&receiver, here, "data/x.db").unwrap_or_default()
        };
        assert_eq!([found(false, None, Some("a")), found(true, Some("a"), Some("a"))], ["", ""]);
        let other = found(true, Some("b"), Some("a"));
        for part in ["http://127.0.0.1:8000", "the instance b", "data/x.db was opened by the instance a", "-C"] {
            assert!(other.contains(part), "{other}");
        }
        assert!(found(true, Some("b"), None).contains("no receiver has opened the store data/x.db"));
        let unready = ReceiverStatusView {
            url: String::new(),
            up: true,
            ready: false,
            instance: Some("a".to_owned()),
            warnings: Vec::new(),
            response: None,
        };
        assert_eq!(find_other_receiver(&unready, None, "data/x.db"), None);
        assert!(found(true, None, Some("a")).contains("not a receiver"));
    }
}
