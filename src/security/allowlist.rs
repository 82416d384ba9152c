//! Who may send webhooks at all, by address. A second lock beside the signature, not instead of it.

use crate::base::networks::Networks;

/// Stands for [`RETELL`] in a list.
pub(crate) const RETELL_PRESET: &str = "retell";
/// The address Retell says its webhooks come from.
pub(crate) const RETELL_ADDRESS: &str = "100.20.5.228";

/// The list's addresses, `retell` spelt out; `None` for an empty one, which lets everybody in.
///
/// # Errors
/// The position of the first text that is neither an address, a range, nor `retell`.
pub(crate) fn parse(texts: &[String]) -> Result<Option<Networks>, usize> {
    let spelt_out: Vec<&str> =
        texts.iter().map(|text| if text == RETELL_PRESET { RETELL_ADDRESS } else { text }).collect();
    Ok(Some(Networks::parse(&spelt_out)?).filter(|_| !texts.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::{RETELL_ADDRESS, parse};

    #[test]
    fn the_preset_is_spelt_out() {
        let list = parse(&["retell".to_owned(), "127.0.0.1".to_owned()]).unwrap().unwrap();
        assert!(list.contains(RETELL_ADDRESS.parse().unwrap()) && list.contains([127, 0, 0, 1].into()));
        assert!(!list.contains([192, 0, 2, 1].into()));
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&["everybody".to_owned()]), Err(0));
    }
}
