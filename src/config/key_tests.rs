//! Keys that verify signatures, and keys for Retell's API.

use super::tests::{KEY, from_env, from_file};
use super::*;
use crate::base::secret::Secret;

#[test]
fn a_key_for_the_api_also_verifies() {
    let exposed = |keys: &[Secret]| keys.iter().map(|key| key.expose().to_owned()).collect::<Vec<_>>();
    let [first, second, third] = [1, 2, 3].map(|number| format!("{KEY}{number}"));
    let api_key = |settings: &Settings| settings.retell.api_key.as_ref().map(|key| key.expose().to_owned());
    let settings = from_env(&[("RETELL_API_KEY", &format!("{first},{second}")), ("RETELL_WEBHOOK_SECRET_KEY", &third)]);
    let settings = settings.unwrap();
    assert_eq!(api_key(&settings), Some(first.clone()), "of several, the first configures");
    assert_eq!(exposed(&settings.security.keys), [first.clone(), second.clone(), third.clone()]);

    let settings = from_env(&[("RETELL_WEBHOOK_SECRET_KEY", &third)]).unwrap();
    assert_eq!((api_key(&settings), exposed(&settings.security.keys)), (None, vec![third.clone()]));

    let settings = from_env(&[("RETELL_API_KEY", &first), ("RETELL_WEBHOOK__RETELL__API_KEY", &second)]).unwrap();
    assert_eq!(api_key(&settings), Some(second.clone()));
    assert_eq!(exposed(&settings.security.keys), [first.clone(), second.clone()]);
}

#[test]
fn keys_of_companies_come_from_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, third] = [1, 2, 3].map(|number| format!("{KEY}{number}"));
    let (keys, api_key) = (folder.path().join("keys"), folder.path().join("api_key"));
    std::fs::write(&keys, format!("{first}\n{second}\n")).unwrap();
    std::fs::write(&api_key, format!("{third}\n")).unwrap();
    let table = |more: &str| format!("[[companies]]\nslug = \"acme\"\napi_key_file = {api_key:?}\n{more}");
    let settings = from_file("local.toml", &table(&format!("keys_file = {keys:?}")), &[]).unwrap();
    let exposed: Vec<_> = settings.companies[0].keys.iter().map(|key| key.expose().to_owned()).collect();
    assert_eq!(exposed, [first, second, third.clone()]);
    assert_eq!(settings.companies[0].api_key, Some(Secret::new(third)));
    let only_api_key = from_file("local.toml", &table(""), &[]).unwrap();
    assert_eq!(only_api_key.companies[0].keys.len(), 1, "it verifies as well");

    for (more, key) in [("api_key = \"key_0123456789abcdef\"", "api_key_file"), ("keys_file = \"absent\"", "keys_file")]
    {
        let error = from_file("local.toml", &table(more), &[]).unwrap_err();
        assert!(error.contains(&format!("companies[0] `acme`: {key}: ")), "{error}");
    }
}
