//! PURE: a label, a value, and where both come from, as the one text that an entry carries.
//!
//! A label that is its own origin, `host:pid`, is its own text, as is one of other software: nothing has to be said beside it. Any other
//! comes first, for those who show the text as it is: `<label><U+001F><value><origin><U+001F><length of the value>:<length of the
//! origin>`; without a value there is `-` for its length.

use std::borrow::Cow;

/// ASCII's unit separator, which people do not write.
const MARK: char = '\u{1f}';

/// What an entry says of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'t> {
    pub(crate) label: &'t str,
    /// What it says to programs.
    pub(crate) value: Option<&'t str>,
    /// The host, and the process there.
    pub(crate) origin: Option<(&'t str, u32)>,
}

/// The text of a label, of the value beside it, if there is one, and of the `host:pid` from which they come.
pub(crate) fn encode<'l>(label: &'l str, value: Option<&str>, origin: &str) -> Cow<'l, str> {
    match value {
        None if label == origin => label.into(),
        None => format!("{label}{MARK}{origin}{MARK}-:{}", origin.len()).into(),
        Some(value) => format!("{label}{MARK}{value}{origin}{MARK}{}:{}", value.len(), origin.len()).into(),
    }
}

/// What this is the text of. What [`encode`] cannot have made is all label.
pub(crate) fn decode(text: &str) -> Text<'_> {
    marked(text).unwrap_or(Text { label: text, value: None, origin: origin(text) })
}

fn marked(text: &str) -> Option<Text<'_>> {
    let (rest, lengths) = text.rsplit_once(MARK)?;
    let (value, from) = lengths.split_once(':')?;
    let (rest, from) = split_end(rest, from)?;
    let (rest, value) = match value {
        "-" => (rest, None),
        length => split_end(rest, length).map(|(rest, value)| (rest, Some(value)))?,
    };
    Some(Text { label: rest.strip_suffix(MARK)?, value, origin: origin(from) })
}

/// The text without its last bytes, and those: as many as the number says, as we write it.
fn split_end<'t>(text: &'t str, length: &str) -> Option<(&'t str, &'t str)> {
    let number: usize = length.parse().ok().filter(|number: &usize| number.to_string() == length)?;
    text.split_at_checked(text.len().checked_sub(number)?)
}

fn origin(text: &str) -> Option<(&str, u32)> {
    let (host, pid) = text.rsplit_once(':')?;
    Some((host, pid.parse().ok()?)).filter(|_| !host.is_empty() && !host.contains(MARK))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_label_that_is_its_origin_is_its_own_text() {
        assert_eq!(encode("host:1", None, "host:1"), "host:1");
        assert_eq!(decode("host:1"), Text { label: "host:1", value: None, origin: Some(("host", 1)) });
    }

    #[test]
    fn what_other_software_writes_is_a_label() {
        for text in [
            "",
            "nightly",
            ":7",
            "host:-1",
            "\u{1f}",
            "\u{1f}3:-:ab",
            "\u{1f}01:-:abc",
            "\u{1f}+1:-:abc",
            "\u{1f}1:-:é",
            "a\u{1f}-:3",
            "a\u{1f}b\u{1f}-:01",
            "a\u{1f}b\u{1f}-:+1",
            "a\u{1f}é\u{1f}-:1",
            "a\u{1f}b\u{1f}9:1",
            "ab\u{1f}1:1",
        ] {
            assert_eq!(decode(text), Text { label: text, value: None, origin: None });
        }
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            label in "\\PC*(\u{1f}[0-9]:[0-9])?",
            value: Option<String>,
            host in "[^:\\pC]\\PC{0,9}",
            pid: u32,
        ) {
            let from = format!("{host}:{pid}");
            let text = encode(&label, value.as_deref(), &from);
            let origin = Some((&*host, pid));
            prop_assert_eq!(decode(&text), Text { label: &label, value: value.as_deref(), origin });
        }
    }
}
