//! The table of options in `docs/mappings.md` names tests: every one of them exists.

const TABLE: &str = include_str!("../../../../docs/mappings.md");

const TESTS: [&str; 16] = [
    include_str!("mapping.rs"),
    include_str!("mapping_change.rs"),
    include_str!("mapping_counts.rs"),
    include_str!("mapping_crash.rs"),
    include_str!("mapping_fanout.rs"),
    include_str!("mapping_give_up.rs"),
    include_str!("mapping_lanes.rs"),
    include_str!("mapping_quarantine.rs"),
    include_str!("mapping_roles.rs"),
    include_str!("mapping_windows.rs"),
    include_str!("crash.rs"),
    include_str!("reshard.rs"),
    include_str!("../../src/consumer/step/tests.rs"),
    include_str!("../../src/mapping/tags.rs"),
    include_str!("../../../../tests/e2e/test_mappings.py"),
    include_str!("../../../../tests/e2e/test_mapping_options.py"),
];

#[test]
fn every_option_names_tests_that_exist() {
    let streams = TABLE.split("## Streams").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let options = streams.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 4);
    let mut named = 0;
    for line in options.skip(1) {
        let tests: Vec<&str> = line.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {line}");
        for test in tests {
            let exists = TESTS
                .iter()
                .any(|source| source.contains(&format!("fn {test}(")) || source.contains(&format!("def {test}(")));
            assert!(exists, "there is no test {test}");
            named += 1;
        }
    }
    assert!(named > 10, "the table is read: {named} tests");
}
