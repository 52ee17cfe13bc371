//! Secrets are read where they are, when they are needed, and shown nowhere.

use std::fs;

use lockcore::{Credentials, ErrorKind, LockUrl, Result, Secret, TlsFiles, UrlOption};

const OPTIONS: [UrlOption; 7] = [
    UrlOption::PASSWORD,
    UrlOption::PASSWORD_FILE,
    UrlOption::PASSWORD_ENV,
    UrlOption::TLS,
    UrlOption::CA,
    UrlOption::CERT,
    UrlOption::KEY,
];

fn credentials(url: &str) -> Result<Option<Credentials>> {
    url.parse::<LockUrl>()?.options(&OPTIONS)?.credentials()
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let text = format!("{error} {error:?}");
    assert!(!text.contains("s3cr3t"), "{text}");
    text
}

#[test]
fn a_file_is_read_each_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let secret = Secret::in_file(file.path());
    for (text, expected) in [
        ("first\n", "first"),
        ("second\r\n", "second"),
        (" with spaces ", " with spaces "),
        ("two\nlines\n", "two\nlines"),
    ] {
        fs::write(file.path(), text).unwrap();
        assert_eq!(secret.read().unwrap(), expected);
    }
    assert_eq!(format!("{secret:?}"), format!("Secret(in {})", file.path().display()));
}

#[test]
fn a_variable_is_read() {
    let secret = Secret::in_variable("PATH");
    assert_eq!(
        (secret.read().ok(), format!("{secret:?}")),
        (std::env::var("PATH").ok(), "Secret(in $PATH)".into())
    );
}

#[test]
fn a_secret_that_is_not_there_is_told_with_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    assert!(refusal(Secret::in_file(file.path()).read()).contains(&path));
    fs::write(file.path(), b"s3cr3t\xff").unwrap();
    assert!(refusal(Secret::in_file(file.path()).read()).contains(&path));
    assert!(refusal(Secret::in_file("/no/such/file").read()).contains("/no/such/file"));
    assert!(refusal(Secret::in_variable("NO_SUCH_VARIABLE").read()).contains("NO_SUCH_VARIABLE"));
}

#[test]
fn credentials_come_from_one_place() {
    let new = |user, password| Some(Credentials::new(user, password));
    for (url, expected) in [
        ("zk://h", None),
        ("zk://me@h", new("me", None)),
        ("zk://me:@h", new("me", None)),
        ("zk://me:s3cr3t@h", new("me", Some("s3cr3t".into()))),
        ("zk://me@h?password=s3cr3t", new("me", Some("s3cr3t".into()))),
        ("zk://me@h?password_file=/f", new("me", Some(Secret::in_file("/f")))),
        ("zk://h?password_env=VARIABLE", new("", Some(Secret::in_variable("VARIABLE")))),
    ] {
        let found = credentials(url).unwrap();
        assert_eq!(found, expected, "{url}");
        assert!(!format!("{found:?}").contains("s3cr3t"));
    }
    for url in [
        "zk://me:s3cr3t@h?password=s3cr3t",
        "zk://me:s3cr3t@h?password_file=/f",
        "zk://h?password_file=/f&password_env=V",
    ] {
        refusal(credentials(url));
    }
    for incomplete in ["zk://me@h", "zk://h?password=s3cr3t"] {
        refusal(credentials(incomplete).unwrap().unwrap().complete());
    }
}

#[test]
fn files_for_tls_are_found_and_refused() {
    let tls = |query: &str, by_scheme| {
        let url: LockUrl = format!("zk://h?{query}").parse()?;
        url.options(&OPTIONS)?.tls(by_scheme)
    };
    assert_eq!(tls("", false).unwrap(), None);
    assert_eq!(tls("tls=false", true).unwrap(), None);
    assert_eq!(tls("tls=true", false).unwrap(), Some(TlsFiles::new()));
    let all = TlsFiles::new().with_authority("/ca").with_certificate("/cert", "/key");
    assert_eq!(tls("ca=/ca&cert=/cert&key=/key", true).unwrap(), Some(all));
    for wrong in ["ca=/ca", "tls=true&cert=/cert", "tls=true&key=/key", "tls=yes"] {
        refusal(tls(wrong, false));
    }
}

#[test]
fn a_file_that_is_no_certificate_is_told_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "s3cr3t").unwrap();
    let path = file.path().display().to_string();
    assert!(refusal(TlsFiles::new().with_authority(file.path()).authority()).contains(&path));
    assert!(
        refusal(TlsFiles::new().with_certificate(file.path(), "/no/such/file").identity()).contains(&path)
    );
    assert!(refusal(TlsFiles::new().with_authority("/no/such/file").authority()).contains("/no/such/file"));
}
