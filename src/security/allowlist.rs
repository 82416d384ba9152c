//! The list of addresses that may send webhooks. It is checked in addition to the signature and does not replace it.

use crate::base::networks::Networks;

/// List entry that stands for [`RETELL_ADDRESS`].
pub(crate) const RETELL_PRESET: &str = "retell";
/// The address from which Retell sends webhooks, according to its documentation.
pub(crate) const RETELL_ADDRESS: &str = "100.20.5.228";

/// Parses the list, with `retell` replaced by its address; `None` for an empty list, which allows every sender.
///
/// # Errors
/// The index of the first entry that is not an address, a range or `retell`.
pub(crate) fn parse(texts: &[String]) -> Result<Option<Networks>, usize> {
    if texts.is_empty() {
        return Ok(None);
    }
    let addresses: Vec<&str> =
        texts.iter().map(|text| if text == RETELL_PRESET { RETELL_ADDRESS } else { text }).collect();
    Networks::parse(&addresses).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{RETELL_ADDRESS, parse};

    #[test]
    fn the_preset_stands_for_retells_address() {
        let list = parse(&["retell".to_owned(), "127.0.0.1".to_owned()]).unwrap().unwrap();
        assert!(list.contains(RETELL_ADDRESS.parse().unwrap()) && list.contains([127, 0, 0, 1].into()));
        assert!(!list.contains([192, 0, 2, 1].into()));
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&["everybody".to_owned()]), Err(0));
    }
}
