//! PURE: a label and a value as the one text that an entry carries.
//!
//! A label without a value is its own text, as it always was, so that other software and earlier versions read it. A value makes
//! it `<U+001F><length of the value>:<value><label>`. A plain label that begins like that is marked by `<U+001F>:`.

use std::borrow::Cow;

/// No label that people write begins with it: ASCII's unit separator.
const MARK: char = '\u{1f}';

/// The text of a label, and of the value beside it, if there is one.
pub(crate) fn encode<'l>(label: &'l str, value: Option<&str>) -> Cow<'l, str> {
    match value {
        Some(value) => format!("{MARK}{}:{value}{label}", value.len()).into(),
        None if label.starts_with(MARK) => format!("{MARK}:{label}").into(),
        None => label.into(),
    }
}

/// The label and the value of which this is the text. What [`encode`] cannot have made is all label.
pub(crate) fn decode(text: &str) -> (&str, Option<&str>) {
    let marked = text.strip_prefix(MARK).and_then(|rest| rest.split_once(':'));
    let Some((length, rest)) = marked else { return (text, None) };
    if length.is_empty() {
        return (rest, None);
    }
    let length = length.parse().ok().filter(|number: &usize| number.to_string() == length);
    match length.and_then(|length| rest.split_at_checked(length)) {
        Some((value, label)) => (label, Some(value)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_label_is_its_own_text() {
        assert_eq!(encode("host:1", None), "host:1");
        assert_eq!(decode("host:1"), ("host:1", None));
    }

    #[test]
    fn what_looks_like_a_value_and_is_none_is_a_label() {
        for text in ["\u{1f}", "\u{1f}3:ab", "\u{1f}01:abc", "\u{1f}+1:abc", "\u{1f}1:é"] {
            assert_eq!(decode(text), (text, None));
        }
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(label in "\u{1f}?[0-9]?:?\\PC*", value: Option<String>) {
            let text = encode(&label, value.as_deref());
            prop_assert_eq!(decode(&text), (&*label, value.as_deref()));
        }
    }
}
