//! The engine against the plain evaluator: random patterns and events that are likely to meet, and rules that come and
//! go.

use super::*;

/// A small generator of numbers, the same on every machine (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A word of few letters, so that words begin, end and contain each other.
    fn word(&mut self, longest: usize) -> String {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.pick(&["a", "b", "A", "B", "a", "b", "ß", "s", "S", "é", "É", "K", "k"])).collect()
    }

    fn text(&mut self) -> String {
        match self.below(8) {
            0 => self
                .pick(&[
                    "10.0.0.1",
                    "10.0.0.2",
                    "10.0.1.1",
                    "010.0.0.1",
                    "::1",
                    "0:0::1",
                    "2001:db8::1",
                    "::ffff:a00:1",
                ])
                .to_owned(),
            1 => self.word(40),
            _ => self.word(4),
        }
    }

    fn number(&mut self) -> &'static str {
        self.pick(&[
            "0",
            "-0.0",
            "1",
            "1.0",
            "2",
            "-1",
            "1e0",
            "10E-1",
            "3.5",
            "0.1",
            "0.10000000000000001",
            "0.30000000000000004",
            "123456789012345678",
            "12345678901234567890",
            "1e400",
            "9007199254740993",
            "-3.5",
            "5e-324",
        ])
    }

    fn literal(&mut self) -> &'static str {
        self.pick(&["true", "false", "null"])
    }
}

/// As JSON, some characters as escapes.
fn quoted(dice: &mut Dice, text: &str) -> String {
    let plain = serde_json::to_string(text).unwrap();
    if !dice.one_in(6) {
        return plain;
    }
    let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{escaped}\"")
}

fn wildcard(dice: &mut Dice) -> String {
    let pieces: Vec<String> = (0..=dice.below(4)).map(|_| dice.word(2)).collect();
    let text = pieces.join("*");
    let mut out = String::new();
    for c in text.chars() {
        if !(c == '*' && out.ends_with('*')) {
            out.push(c);
        }
    }
    serde_json::to_string(&out).unwrap()
}

fn operator(dice: &mut Dice) -> String {
    let word = |dice: &mut Dice| {
        let word = dice.word(3);
        quoted(dice, &word)
    };
    let list = |dice: &mut Dice, of: &dyn Fn(&mut Dice) -> String| {
        let items: Vec<_> = (0..=dice.below(3)).map(|_| of(dice)).collect();
        format!("[{}]", items.join(","))
    };
    let filled = |dice: &mut Dice| format!("\"a{}", &word(dice)[1..]);
    match dice.below(20) {
        0..=3 => {
            let text = dice.text();
            quoted(dice, &text)
        }
        4 => dice.number().to_owned(),
        5 => dice.literal().to_owned(),
        6 => format!(r#"{{"prefix":{}}}"#, word(dice)),
        7 => format!(r#"{{"suffix":{}}}"#, word(dice)),
        8 => format!(r#"{{"prefix":{{"equals-ignore-case":{}}}}}"#, word(dice)),
        9 => format!(r#"{{"suffix":{{"equals-ignore-case":{}}}}}"#, word(dice)),
        10 => format!(r#"{{"equals-ignore-case":{}}}"#, word(dice)),
        11 => format!(r#"{{"wildcard":{}}}"#, wildcard(dice)),
        12 => {
            let operator = dice.pick(&["=", "<", "<=", ">", ">="]);
            format!(r#"{{"numeric":["{operator}",{}]}}"#, dice.pick(&["0", "1", "2", "0.1", "-1", "3.5"]))
        }
        13 => {
            let (low, high) = (dice.pick(&["-1", "0", "0.1"]), dice.pick(&["1", "2", "3.5"]));
            let (from, to) = (dice.pick(&[">", ">="]), dice.pick(&["<", "<="]));
            format!(r#"{{"numeric":["{from}",{low},"{to}",{high}]}}"#)
        }
        14 => format!(
            r#"{{"cidr":"{}"}}"#,
            dice.pick(&["10.0.0.0/24", "10.0.0.0/31", "0.0.0.0/0", "::/0", "2001:db8::/32"])
        ),
        15 => format!(r#"{{"exists":{}}}"#, dice.pick(&["true", "false"])),
        16 => format!(r#"{{"anything-but":{}}}"#, list(dice, &|d| word(d))),
        17 => format!(r#"{{"anything-but":{}}}"#, list(dice, &|d| d.pick(&["0", "1", "2.0", "0.1"]).to_owned())),
        18 => {
            let operator = dice.pick(&["prefix", "suffix"]);
            format!(r#"{{"anything-but":{{"{operator}":{}}}}}"#, list(dice, &filled))
        }
        _ => {
            let (operator, of): (_, &dyn Fn(&mut Dice) -> String) =
                if dice.one_in(2) { ("equals-ignore-case", &word) } else { ("wildcard", &wildcard) };
            format!(r#"{{"anything-but":{{"{operator}":{}}}}}"#, list(dice, of))
        }
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "", "a.b"];

/// A pattern object; unlikely ones are refused and tried again by the caller.
fn pattern(dice: &mut Dice, depth: usize) -> String {
    let mut members = Vec::new();
    for _ in 0..=dice.below(3) {
        let names = if dice.one_in(8) { 6 } else { 4 };
        let name = dice.pick(&NAMES[..names]);
        let value = match dice.below(8) {
            0..3 if depth < 3 => pattern(dice, depth + 1),
            _ => {
                let operators: Vec<_> = (0..=dice.below(5) / 2).map(|_| operator(dice)).collect();
                format!("[{}]", operators.join(","))
            }
        };
        members.push(format!("\"{name}\":{value}"));
    }
    if dice.one_in(6) {
        let alternatives: Vec<_> = (0..2 + dice.below(2)).map(|_| pattern(dice, depth + 1)).collect();
        members.push(format!("\"$or\":[{}]", alternatives.join(",")));
    }
    format!("{{{}}}", members.join(","))
}

fn space(dice: &mut Dice) -> &'static str {
    if dice.one_in(12) { dice.pick(&[" ", "\n\t", "  "]) } else { "" }
}

fn object(dice: &mut Dice, depth: usize) -> String {
    let mut members = Vec::new();
    for _ in 0..dice.below(6) {
        let names = if dice.one_in(10) { 6 } else { 4 };
        let name = dice.pick(&NAMES[..names]);
        let name = quoted_key(dice, name);
        members.push(format!("{name}{}:{}{}", space(dice), space(dice), value(dice, depth)));
    }
    format!("{{{}{}}}", space(dice), members.join(","))
}

fn quoted_key(dice: &mut Dice, name: &str) -> String {
    if dice.one_in(30) { quoted(dice, name) } else { format!("\"{name}\"") }
}

fn value(dice: &mut Dice, depth: usize) -> String {
    match dice.below(10) {
        0..3 if depth < 4 => object(dice, depth + 1),
        3..5 if depth < 4 => {
            let elements: Vec<_> = (0..dice.below(4)).map(|_| value(dice, depth + 1)).collect();
            format!("[{}{}]", space(dice), elements.join(","))
        }
        5 => dice.number().to_owned(),
        6 => dice.literal().to_owned(),
        _ => {
            let text = dice.text();
            quoted(dice, &text)
        }
    }
}

/// An event without a key twice in an object, most of the time.
fn event(dice: &mut Dice) -> String {
    let mut event = object(dice, 0);
    for _ in 0..4 {
        if Event::check(event.as_bytes()).unwrap().is_plain() || dice.one_in(8) {
            break;
        }
        event = object(dice, 0);
    }
    event
}

/// How many pairs of a pattern and an event are compared.
fn pairs() -> usize {
    std::env::var("TIDEGATE_RULE_PAIRS").map_or(100_000, |pairs| pairs.parse().unwrap())
}

#[test]
fn the_engine_says_what_the_plain_evaluator_says() {
    const RULES: usize = 12;
    const EVENTS: usize = 16;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut engine = Engine::default();
    let mut scratch = Scratch::default();
    let mut rules: Vec<(String, Pattern)> = Vec::new();
    let (mut compared, mut matched) = (0, 0);
    while compared < pairs() {
        for _ in 0..4 {
            let text = pattern(&mut dice, 0);
            let Ok(parsed) = Pattern::parse(&text) else { continue };
            let at = dice.below(RULES);
            engine.insert(at, &parsed);
            if at < rules.len() {
                rules[at] = (text, parsed)
            } else {
                engine.remove(&at);
                engine.insert(rules.len(), &parsed);
                rules.push((text, parsed));
            }
        }
        for _ in 0..EVENTS {
            let event = event(&mut dice);
            let checked = Event::check(event.as_bytes()).unwrap();
            let mut found: Vec<usize> = engine.matches(checked, &mut scratch).copied().collect();
            found.sort_unstable();
            let wanted: Vec<usize> = (0..rules.len()).filter(|at| rules[*at].1.matches_event(checked)).collect();
            if found != wanted {
                let differ: Vec<_> = (0..rules.len())
                    .filter(|at| found.contains(at) != wanted.contains(at))
                    .map(|at| &rules[at].0)
                    .collect();
                panic!("{event}\nengine {found:?}, evaluator {wanted:?}: {differ:#?}");
            }
            compared += rules.len();
            matched += found.len();
        }
    }
    println!("{compared} pairs, {matched} of them matched");
    assert!(matched * 50 > compared, "only {matched} of {compared} pairs matched: the generator is not biased enough");
    for at in 0..rules.len() {
        assert!(engine.remove(&at));
    }
    assert!(engine.is_empty() && engine.tables.paths.children(0) == 0 && engine.tables.always.is_empty());
}

#[test]
fn a_rule_is_replaced_by_one_of_its_name() {
    let mut engine = Engine::default();
    let mut scratch = Scratch::default();
    let event = Event::check(br#"{"a":"x"}"#).unwrap();
    for (text, matches) in [(r#"{"a":["x"]}"#, 1), (r#"{"a":["y"]}"#, 0), (r#"{"a":[{"prefix":""}]}"#, 1)] {
        engine.insert("r", &Pattern::parse(text).unwrap());
        assert_eq!(engine.matches(event, &mut scratch).count(), matches);
        assert_eq!(engine.len(), 1);
    }
    assert!(engine.remove(&"r") && !engine.remove(&"r"));
    assert_eq!(engine.matches(event, &mut scratch).count(), 0);
}

#[test]
fn removed_prefixes_leave_nothing_behind_for_long() {
    let mut engine = Engine::default();
    for round in 0..5_000 {
        let text = format!(r#"{{"a":[{{"prefix":"{round}-"}},{{"anything-but":{{"wildcard":"{round}*x*y"}}}}]}}"#);
        engine.insert(round % 10, &Pattern::parse(text).unwrap());
    }
    let size = format!("{:?}", engine.tables).len();
    assert!(size < 1_000_000, "{size} bytes are written for ten rules");
    let mut scratch = Scratch::default();
    assert_eq!(engine.matches(Event::check(br#"{"a":"4993-x"}"#).unwrap(), &mut scratch).count(), 10);
    assert_eq!(engine.matches(Event::check(br#"{"a":"4993xy"}"#).unwrap(), &mut scratch).count(), 9);
}
