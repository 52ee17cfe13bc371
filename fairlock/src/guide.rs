//! The guide's blocks of Rust are tests, each chapter's as those of a module.

macro_rules! chapters {
    ($($(#[$attribute:meta])* $name:ident: $file:literal;)+) => {
        $(
            $(#[$attribute])*
            #[doc = include_str!(concat!("../../docs/guide/src/", $file))]
            mod $name {}
        )+
    };
}

chapters! {
    introduction: "introduction.md";
    choosing: "choosing.md";
    failures: "failures.md";
    election: "election.md";
    several: "several.md";
    #[cfg(feature = "blocking")]
    blocking: "blocking.md";
    scheduled: "scheduled.md";
    #[cfg(feature = "tower")]
    fencing: "fencing.md";
    configuration: "configuration.md";
    testing: "testing.md";
    operations: "operations.md";
    coming_from: "coming-from.md";
}
