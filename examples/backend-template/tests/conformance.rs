//! The suite, on the server of the template.

use std::process::ExitCode;

use backend_template::{SCHEME, TemplateFactory};
use conformance::UrlFixture;
use lockcore::Registry;

fn main() -> ExitCode {
    conformance::main(Registry::new().with(SCHEME, TemplateFactory), |registry| {
        UrlFixture::new(registry, "template://suite?session_timeout=2s")
    })
}
