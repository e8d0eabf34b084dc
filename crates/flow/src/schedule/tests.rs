//! Expressions against the documentation's examples and against a plain evaluator; instants across daylight saving;
//! clocks that jump.

use std::time::Duration;

use base::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::handled::Next;
use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn table(expression: &str, zone: &str) -> Timetable {
    let expression = Expression::of_schedule(expression).unwrap();
    let zone = if zone == "UTC" { TimeZone::UTC } else { time_zone(zone).unwrap() };
    Timetable { expression, zone, first: at("2026-01-01T00:00:00Z"), from: None, until: None }
}

/// The next instants after a time, as texts.
fn next(table: &Timetable, after: &str, count: usize) -> Vec<String> {
    let instants = std::iter::successors(table.next_after(at(after)), |last| table.next_after(*last));
    instants.take(count).map(Timestamp::to_iso_secs).collect()
}

/// "Cron expressions reference", EventBridge User Guide, section "Examples"; and "Schedule types in EventBridge
/// Scheduler", EventBridge Scheduler User Guide (the last two). The instants are those that the pages' words name.
#[test]
fn the_documented_expressions_name_the_documented_instants() {
    // A Thursday.
    let after = "2026-01-01T00:00:00Z";
    let cases: [(&str, &[&str]); 10] = [
        ("cron(0 10 * * ? *)", &["2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z", "2026-01-03T10:00:00Z"]),
        ("cron(15 12 * * ? *)", &["2026-01-01T12:15:00Z", "2026-01-02T12:15:00Z"]),
        ("cron(0 18 ? * MON-FRI *)", &["2026-01-01T18:00:00Z", "2026-01-02T18:00:00Z", "2026-01-05T18:00:00Z"]),
        ("cron(0 8 1 * ? *)", &["2026-01-01T08:00:00Z", "2026-02-01T08:00:00Z", "2026-03-01T08:00:00Z"]),
        ("cron(0/15 * * * ? *)", &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:45:00Z"]),
        ("cron(0/10 * ? * MON-FRI *)", &["2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z"]),
        ("cron(0/5 8-17 ? * MON-FRI *)", &["2026-01-01T08:00:00Z", "2026-01-01T08:05:00Z"]),
        (
            "cron(0/30 20-2 ? * MON-FRI *)",
            &[
                "2026-01-01T00:30:00Z",
                "2026-01-01T01:00:00Z",
                "2026-01-01T01:30:00Z",
                "2026-01-01T02:00:00Z",
                "2026-01-01T02:30:00Z",
                "2026-01-01T20:00:00Z",
            ],
        ),
        ("cron(15 10 ? * 6L 2026-2027)", &["2026-01-30T10:15:00Z", "2026-02-27T10:15:00Z", "2026-03-27T10:15:00Z"]),
        ("rate(5 minutes)", &["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"]),
    ];
    for (expression, instants) in cases {
        assert_eq!(next(&table(expression, "UTC"), after, instants.len()), instants, "{expression}");
    }
}

#[test]
fn days_that_depend_on_the_month() {
    let cases: [(&str, &[&str]); 9] = [
        ("cron(0 0 L * ? *)", &["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("cron(0 0 LW * ? *)", &["2026-01-30", "2026-02-27", "2026-03-31"]),
        // The 3rd of January 2026 is a Saturday, the 1st of March a Sunday, the 1st of August a Saturday.
        ("cron(0 0 3W * ? *)", &["2026-01-02", "2026-02-03", "2026-03-03", "2026-04-03", "2026-05-04"]),
        ("cron(0 0 1W 8 ? *)", &["2026-08-03", "2027-08-02"]),
        ("cron(0 0 31W * ? *)", &["2026-01-30", "2026-03-31", "2026-05-29"]),
        ("cron(0 0 ? * 3#2 *)", &["2026-01-13", "2026-02-10"]),
        ("cron(0 0 ? * TUE#5 *)", &["2026-03-31", "2026-06-30"]),
        ("cron(0 0 ? * L *)", &["2026-01-03", "2026-01-10"]),
        ("cron(0 0 29 2 ? *)", &["2028-02-29", "2032-02-29"]),
    ];
    for (expression, days) in cases {
        let found = next(&table(expression, "UTC"), "2026-01-01T00:00:00Z", days.len());
        let days: Vec<String> = days.iter().map(|day| format!("{day}T00:00:00Z")).collect();
        assert_eq!(found, days, "{expression}");
    }
    assert_eq!(next(&table("cron(0 0 30 2 ? *)", "UTC"), "2026-01-01T00:00:00Z", 1), [""; 0]);
    assert_eq!(next(&table("cron(0 0 1 1 ? 2020)", "UTC"), "2026-01-01T00:00:00Z", 1), [""; 0]);
    assert_eq!(next(&table("cron(59 23 31 12 ? 2199)", "UTC"), "2026-01-01T00:00:00Z", 2), ["2199-12-31T23:59:00Z"]);
}

#[test]
fn what_the_service_refuses_is_refused() {
    for text in [
        "",
        "cron",
        "cron()",
        "rate()",
        "cron(* * * * *)",
        "cron(0 10 * * ? * *)",
        "cron(0 10 * * * *)",
        "cron(0 10 ? * ? *)",
        "cron(0 10 1 * MON *)",
        "cron(60 * * * ? *)",
        "cron(* 24 * * ? *)",
        "cron(* * 0 * ? *)",
        "cron(* * 32 * ? *)",
        "cron(* * * 13 ? *)",
        "cron(* * ? * 8 *)",
        "cron(* * ? * 0 *)",
        "cron(* * * * ? 1969)",
        "cron(* * * * ? 2200)",
        "cron(*/0 * * * ? *)",
        "cron(*/61 * * * ? *)",
        "cron(? * * * ? *)",
        "cron(1, * * * ? *)",
        "cron(1- * * * ? *)",
        "cron(+1 * * * ? *)",
        "cron(* * ? * MON#6 *)",
        "cron(* * ? * MON#1,TUE#2 *)",
        "cron(* * ? * FRYL *)",
        "cron(* * 1L * ? *)",
        "cron(* * W * ? *)",
        "cron(* * * JUNE ? *)",
        "rate(0 minutes)",
        "rate(-1 minutes)",
        "rate(1.5 hours)",
        "rate(5)",
        "rate(5 minutes daily)",
        "rate(5 seconds)",
        "rate(five minutes)",
        "rate(5 MINUTES)",
        "rate(1 minutes)",
        "rate(5 minute)",
        "rate(2 day)",
        " rate(5 minutes)",
        "rate(5 minutes) ",
        "at(2026-01-01T00:00:00)",
        "cron(0 10 * * ? *",
        "5 minutes",
    ] {
        assert_eq!(Expression::of_rule(text), Err(BadExpression), "{text}");
    }
    for text in [
        "at()",
        "at(2026-01-01)",
        "at(2026-01-01 00:00:00)",
        "at(2026-02-30T00:00:00)",
        "at(2026-01-01T00:00:00Z)",
        "at(2026-01-01T24:00:00)",
        "rate(5 seconds)",
        "every day",
    ] {
        assert_eq!(Expression::of_schedule(text), Err(BadExpression), "{text}");
    }
    assert!(Expression::of_rule("cron(0 0 ? * mon-fri *)").is_ok(), "names in small letters");
    assert!(
        Expression::of_schedule("rate(1 minutes)").is_ok()
            && Expression::of_schedule("at(2026-01-01T00:00:30)").is_ok()
    );
}

/// "Daylight savings time on EventBridge Scheduler", EventBridge Scheduler User Guide: what falls on a time that does not
/// exist is skipped, what falls on one that exists twice runs once, and a day of a rate has 24 hours.
#[test]
fn daylight_saving_skips_what_is_not_there_and_runs_once_what_is_there_twice() {
    // Berlin: 2026-03-29 02:00 becomes 03:00 at 01:00 UTC, 2026-10-25 03:00 becomes 02:00 at 01:00 UTC.
    let berlin = table("cron(30 2 * * ? *)", "Europe/Berlin");
    assert_eq!(
        next(&berlin, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
    );
    assert_eq!(
        next(&berlin, "2026-10-24T12:00:00Z", 3),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]
    );
    // New York: 2026-03-08 02:00 becomes 03:00 at 07:00 UTC, 2026-11-01 02:00 becomes 01:00 at 06:00 UTC.
    let new_york = table("cron(0/30 1-3 * * ? *)", "America/New_York");
    assert_eq!(
        next(&new_york, "2026-03-08T05:00:00Z", 5),
        [
            "2026-03-08T06:00:00Z",
            "2026-03-08T06:30:00Z",
            "2026-03-08T07:00:00Z",
            "2026-03-08T07:30:00Z",
            "2026-03-09T05:00:00Z"
        ]
    );
    assert_eq!(
        next(&new_york, "2026-11-01T04:00:00Z", 7),
        [
            "2026-11-01T05:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T07:00:00Z",
            "2026-11-01T07:30:00Z",
            "2026-11-01T08:00:00Z",
            "2026-11-01T08:30:00Z",
            "2026-11-02T06:00:00Z"
        ]
    );
    // Asked while the clocks show the hour for the second time.
    assert_eq!(next(&new_york, "2026-11-01T06:10:00Z", 1), ["2026-11-01T07:00:00Z"]);
    let mut daily = table("rate(1 day)", "Europe/Berlin");
    daily.first = at("2026-03-28T11:00:00Z");
    assert_eq!(next(&daily, "2026-03-28T00:00:00Z", 2), ["2026-03-28T11:00:00Z", "2026-03-29T11:00:00Z"]);
    assert_eq!(
        next(&table("at(2026-03-29T02:30:00)", "Europe/Berlin"), "2026-01-01T00:00:00Z", 2),
        ["2026-03-29T01:30:00Z"]
    );
    assert_eq!(
        next(&table("at(2026-10-25T02:30:00)", "Europe/Berlin"), "2026-01-01T00:00:00Z", 2),
        ["2026-10-25T00:30:00Z"]
    );
}

#[test]
fn a_start_counts_and_an_end_does_not() {
    let mut bounded = table("cron(0 * * * ? *)", "UTC");
    (bounded.from, bounded.until) = (Some(at("2026-01-01T05:00:00Z")), Some(at("2026-01-01T07:00:00Z")));
    assert_eq!(next(&bounded, "2025-01-01T00:00:00Z", 5), ["2026-01-01T05:00:00Z", "2026-01-01T06:00:00Z"]);
    let mut rate = table("rate(45 minutes)", "UTC");
    rate.from = Some(at("2026-01-01T05:10:00Z"));
    assert_eq!(next(&rate, "2025-01-01T00:00:00Z", 2), ["2026-01-01T05:10:00Z", "2026-01-01T05:55:00Z"]);
}

/// Whether a minute fits, field by field, from the text: nothing in common with the parser.
fn fits(fields: &[String], time: DateTime) -> bool {
    let number = |text: &str| {
        let names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
        names.iter().position(|name| *name == text).map_or_else(|| text.parse().unwrap(), |at| at as i64 + 1)
    };
    let plain = |field: &str, value: i64, last: i64| {
        field == "*"
            || field.split(',').any(|item| {
                let (range, step) = item.split_once('/').unwrap_or((item, "1"));
                let step: i64 = step.parse().unwrap();
                let (from, to) = match range.split_once('-') {
                    Some((from, to)) => (number(from), number(to)),
                    None if range == "*" => (if last == 59 || last == 23 { 0 } else { 1 }, last),
                    None if item.contains('/') => (number(range), last),
                    None => (number(range), number(range)),
                };
                value >= from && value <= to && (value - from) % step == 0
            })
    };
    let date = time.date();
    let weekday = i64::from(date.weekday().to_sunday_one_offset());
    let (day, length) = (i64::from(date.day()), i64::from(date.days_in_month()));
    let month_day = match fields[2].as_str() {
        "?" => true,
        "L" => day == length,
        field => match field.strip_suffix('W') {
            None => plain(field, day, 31),
            Some(wanted) => {
                let wanted: i64 = wanted.parse().unwrap();
                // The working day of this month with the least distance; of two, the one before.
                let working = |d: &i64| {
                    let of = date.with().day(*d as i8).build().unwrap().weekday().to_sunday_one_offset();
                    (2..=6).contains(&of)
                };
                let closest = (1..=length).filter(working).min_by_key(|d| ((d - wanted).abs(), *d > wanted)).unwrap();
                wanted <= length && day == closest
            }
        },
    };
    let week_day = match fields[4].as_str() {
        "?" => true,
        "L" => weekday == 7,
        field => match (field.split_once('#'), field.strip_suffix('L')) {
            (Some((wanted, nth)), _) => weekday == number(wanted) && (day - 1) / 7 + 1 == nth.parse::<i64>().unwrap(),
            (_, Some(wanted)) => weekday == number(wanted) && day + 7 > length,
            _ => plain(field, weekday, 7),
        },
    };
    plain(&fields[0], i64::from(time.minute()), 59)
        && plain(&fields[1], i64::from(time.hour()), 23)
        && plain(&fields[3], i64::from(time.month()), 12)
        && plain(&fields[5], i64::from(time.year()), 2199)
        && month_day
        && week_day
}

fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
    let value = first..=last;
    let item = prop_oneof![
        3 => value.clone().prop_map(|v| v.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), 1..=(last / 2).max(1)).prop_map(|(a, s)| format!("{a}/{s}")),
        1 => (1..=(last / 2).max(1)).prop_map(|s| format!("*/{s}")),
    ];
    prop_oneof![2 => Just("*".to_owned()), 3 => proptest::collection::vec(item, 1..3).prop_map(|items| items.join(","))]
}

fn days() -> impl Strategy<Value = (String, String)> {
    let none = || "?".to_owned();
    prop_oneof![
        4 => field(1, 31).prop_map(move |days| (days, none())),
        1 => Just(("L".to_owned(), none())),
        1 => (1..=31).prop_map(move |day| (format!("{day}W"), none())),
        4 => field(1, 7).prop_map(move |days| (none(), days)),
        1 => Just((none(), "MON-FRI".to_owned())),
        1 => Just((none(), "L".to_owned())),
        1 => (1..=7, 1..=5).prop_map(move |(day, nth)| (none(), format!("{day}#{nth}"))),
        1 => (1..=7).prop_map(move |day| (none(), format!("{day}L"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Every minute of twenty days is looked at.
    #[test]
    fn the_next_instants_are_those_that_a_minute_by_minute_look_finds(
        minutes in field(0, 59), hours in field(0, 23), (month_days, week_days) in days(), months in field(1, 12),
        day in 0..4_000_i64, second in 0..86_400_i64,
    ) {
        let fields = [minutes, hours, month_days, months, week_days, "2020-2031".to_owned()];
        let cron = Cron::parse(&fields.join(" ")).unwrap();
        let start = DateTime::constant(2020, 1, 1, 0, 0, 0, 0) + jiff::Span::new().days(day).seconds(second);
        let end = start + jiff::Span::new().days(20);
        let found: Vec<DateTime> = std::iter::successors(cron.next_after(start), |last| cron.next_after(*last))
            .take_while(|time| *time <= end)
            .collect();
        let whole = start - jiff::Span::new().seconds(i64::from(start.second()));
        let minutes = (1..=20 * 1_440_i64).map(|n| whole + jiff::Span::new().minutes(n)).filter(|time| *time <= end);
        let wanted: Vec<DateTime> = minutes.filter(|time| fits(&fields, *time)).collect();
        prop_assert_eq!(found, wanted, "{:?}", fields);
    }

    /// A clock that jumps about as it likes: no instant twice, and none left out that was due for less than a day
    /// while the clock went on from before it.
    #[test]
    fn whatever_the_clock_does_an_instant_is_handed_out_once(
        steps in proptest::collection::vec((-5_000_i64..5_000, 0..3_000_i64), 1..40),
    ) {
        let table = table("cron(0/10 * * * ? *)", "UTC");
        let begun = at("2026-05-01T00:00:00Z");
        let (mut now, mut handled) = (begun.millis(), Handled::until(begun));
        let mut out = Vec::new();
        let take = |now: i64, handled: &mut Handled, out: &mut Vec<Timestamp>| {
            while let Some(next) = handled.next(&table, Timestamp::from_millis(now)).filter(|n| n.at.millis() <= now) {
                handled.done(&next);
                out.push(next.at);
            }
        };
        for (jump, pass) in steps {
            // One jump in five is by as many minutes, the others are seconds.
            now += jump * if jump % 5 == 0 { 60_000 } else { 1_000 };
            take(now, &mut handled, &mut out);
            let before = now;
            now += pass * 1_000;
            take(now, &mut handled, &mut out);
            let passed = std::iter::successors(table.next_after(Timestamp::from_millis(before)), |t| table.next_after(*t));
            for instant in passed.take_while(|t| t.millis() <= now) {
                prop_assert!(out.contains(&instant) || instant <= begun, "{instant} is lost");
            }
        }
        let mut once = out.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), out.len());
    }
}

#[test]
fn a_wrong_time_ahead_costs_nothing_that_is_still_to_come() {
    let hourly = table("cron(0 * * * ? *)", "UTC");
    let mut handled = Handled::until(at("2026-05-01T00:30:00Z"));
    let mut take = |now: &str| {
        let mut out = Vec::new();
        while let Some(next) = handled.next(&hourly, at(now)).filter(|next| next.at <= at(now)) {
            handled.done(&next);
            out.push(next.at.to_iso_secs());
        }
        out
    };
    assert_eq!(take("2026-05-01T02:10:00Z"), ["2026-05-01T01:00:00Z", "2026-05-01T02:00:00Z"]);
    // Two years ahead: a day of it is made up for.
    assert_eq!(take("2028-05-01T00:10:00Z").len(), 24);
    assert_eq!(take("2028-05-01T01:10:00Z"), ["2028-05-01T01:00:00Z"]);
    // Set right, and then too far back.
    assert_eq!(take("2026-05-01T03:10:00Z"), ["2026-05-01T03:00:00Z"]);
    assert_eq!(take("2026-04-30T12:00:00Z"), [""; 0]);
    assert_eq!(take("2026-05-01T03:30:00Z"), [""; 0]);
    assert_eq!(take("2026-05-01T04:30:00Z"), ["2026-05-01T04:00:00Z"]);
    // Two years later it is still known what was done then.
    assert_eq!(take("2028-05-01T01:30:00Z"), [""; 0]);
    assert_eq!(take("2028-05-01T02:30:00Z"), ["2028-05-01T02:00:00Z"]);
}

#[test]
fn parts_of_time_stay_few() {
    let hourly = table("cron(0 * * * ? *)", "UTC");
    let mut handled = Handled::until(at("2026-01-01T00:30:00Z"));
    for month in 0..40_u64 {
        let now = at("2026-01-10T00:30:00Z") + Duration::from_secs(month * 40 * 86_400);
        while let Some(next @ Next { at, .. }) = handled.next(&hourly, now) {
            if at > now {
                break;
            }
            handled.done(&next);
        }
    }
    assert!(serde_json::to_string(&handled).unwrap().len() < 700);
}

#[test]
fn once_is_however_late() {
    let once = table("at(2026-05-01T00:00:00)", "UTC");
    let mut handled = Handled::until(at("2026-04-01T00:00:00Z"));
    let next = handled.next(&once, at("2026-12-01T00:00:00Z")).unwrap();
    assert_eq!((next.at, next.skipped), (at("2026-05-01T00:00:00Z"), None));
    handled.done(&next);
    assert_eq!(handled.next(&once, at("2026-12-01T00:00:00Z")), None);
}
