//! The examples of the pattern language that AWS publishes, each with its page: what they match and what not, by the
//! plain evaluator and by the engine.

use rules::{Engine, Event, Pattern, RulesError, Scratch};

/// A page of the EventBridge User Guide, what is shown there, a pattern, events that match and events that do not.
type Example = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// "Comparison operators for use in event patterns in Amazon EventBridge".
const OPERATORS: &str = "eb-create-pattern-operators";
/// "Creating Amazon EventBridge event patterns".
const PATTERNS: &str = "eb-event-patterns";
/// "Matching events on null values and empty strings in Amazon EventBridge".
const NULLS: &str = "eb-event-patterns-null-values";
/// "Arrays in Amazon EventBridge event patterns".
const ARRAYS: &str = "eb-event-patterns-arrays";

const TERMINATED: &str = r#"{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"111122223333","time":"2017-12-22T18:43:48Z","region":"us-west-1","resources":["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],"detail":{"instance-id":"i-1234567890abcdef0","state":"terminated"}}"#;
const LAUNCHED: &str = r#"{"version":"0","id":"3e3c153a-8339-4e30-8c35-687ebef853fe","detail-type":"EC2 Instance Launch Successful","source":"aws.autoscaling","account":"123456789012","time":"2015-11-11T21:31:47Z","region":"us-east-1","resources":[],"detail":{"eventVersion":"","responseElements":null}}"#;

#[rustfmt::skip]
const EXAMPLES: &[Example] = &[
    (PATTERNS, "state of an instance", r#"{"source":["aws.ec2"],"detail-type":["EC2 Instance State-change Notification"],"detail":{"state":["terminated"]}}"#,
        &[TERMINATED], &[LAUNCHED]),
    (NULLS, "empty string", r#"{"detail":{"eventVersion":[""]}}"#, &[LAUNCHED], &[TERMINATED, r#"{"detail":{"eventVersion":null}}"#]),
    (NULLS, "null", r#"{"detail":{"responseElements":[null]}}"#, &[LAUNCHED], &[TERMINATED, r#"{"detail":{"responseElements":""}}"#]),
    (ARRAYS, "intersection", r#"{"resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-b188560f","arn:aws:ec2:us-east-1:111122223333:instance/i-b188560f","arn:aws:ec2:us-east-1:444455556666:instance/i-b188560f"]}"#,
        &[r#"{"resources":["arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:eb56d16b-bbf0-401d-b893-d5978ed4a025:autoScalingGroupName/ASGTerminate","arn:aws:ec2:us-east-1:123456789012:instance/i-b188560f"]}"#],
        &[r#"{"resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-00000000"]}"#, r#"{"resources":[]}"#]),
    (OPERATORS, "summary: and", r#"{"Location":["New York"],"Day":["Monday"]}"#,
        &[r#"{"Location":"New York","Day":"Monday"}"#], &[r#"{"Location":"New York","Day":"Sunday"}"#, r#"{"Day":"Monday"}"#]),
    (OPERATORS, "summary: anything-but begins with", r#"{"Region":[{"anything-but":{"prefix":"us-"}}]}"#,
        &[r#"{"Region":"eu-west-1"}"#], &[r#"{"Region":"us-east-1"}"#, r#"{}"#]),
    (OPERATORS, "summary: anything-but ends with", r#"{"FileName":[{"anything-but":{"suffix":".png"}}]}"#,
        &[r#"{"FileName":"a.gif"}"#], &[r#"{"FileName":"a.png"}"#]),
    (OPERATORS, "summary: begins with", r#"{"Region":[{"prefix":"us-"}]}"#, &[r#"{"Region":"us-east-1"}"#], &[r#"{"Region":"eu-west-1"}"#, r#"{"Region":7}"#]),
    (OPERATORS, "summary: begins with, ignoring case", r#"{"service":[{"prefix":{"equals-ignore-case":"eventb"}}]}"#,
        &[r#"{"service":"EventBridge"}"#, r#"{"service":"EVENTB"}"#], &[r#"{"service":"Event"}"#]),
    (OPERATORS, "summary: empty", r#"{"LastName":[""]}"#, &[r#"{"LastName":""}"#], &[r#"{"LastName":" "}"#, r#"{"LastName":null}"#, "{}"]),
    (OPERATORS, "summary: equals", r#"{"Name":["Alice"]}"#, &[r#"{"Name":"Alice"}"#, r#"{"Name":["Bob","Alice"]}"#], &[r#"{"Name":"alice"}"#]),
    (OPERATORS, "summary: equals, ignoring case", r#"{"Name":[{"equals-ignore-case":"alice"}]}"#, &[r#"{"Name":"Alice"}"#, r#"{"Name":"ALICE"}"#], &[r#"{"Name":"Alic"}"#]),
    (OPERATORS, "summary: ends with", r#"{"FileName":[{"suffix":".png"}]}"#, &[r#"{"FileName":"x.png"}"#, r#"{"FileName":".png"}"#], &[r#"{"FileName":"x.PNG"}"#]),
    (OPERATORS, "summary: ends with, ignoring case", r#"{"service":[{"suffix":{"equals-ignore-case":"tBridge"}}]}"#,
        &[r#"{"service":"EventBridge"}"#, r#"{"service":"EVENTBRIDGE"}"#], &[r#"{"service":"EventBridges"}"#]),
    (OPERATORS, "summary: exists", r#"{"ProductName":[{"exists":true}]}"#, &[r#"{"ProductName":"x"}"#, r#"{"ProductName":null}"#], &["{}"]),
    (OPERATORS, "summary: does not exist", r#"{"ProductName":[{"exists":false}]}"#, &["{}", r#"{"Other":1}"#], &[r#"{"ProductName":"x"}"#]),
    (OPERATORS, "summary: not", r#"{"Weather":[{"anything-but":["Raining"]}]}"#, &[r#"{"Weather":"Sunny"}"#], &[r#"{"Weather":"Raining"}"#]),
    (OPERATORS, "summary: null", r#"{"UserID":[null]}"#, &[r#"{"UserID":null}"#], &[r#"{"UserID":"null"}"#, "{}"]),
    (OPERATORS, "summary: numeric equals", r#"{"Price":[{"numeric":["=",100]}]}"#, &[r#"{"Price":100}"#, r#"{"Price":1.0e2}"#], &[r#"{"Price":100.1}"#, r#"{"Price":"100"}"#]),
    (OPERATORS, "summary: numeric range", r#"{"Price":[{"numeric":[">",10,"<=",20]}]}"#, &[r#"{"Price":20}"#, r#"{"Price":10.01}"#], &[r#"{"Price":10}"#, r#"{"Price":20.5}"#]),
    (OPERATORS, "summary: or", r#"{"PaymentType":["Credit","Debit"]}"#, &[r#"{"PaymentType":"Debit"}"#], &[r#"{"PaymentType":"Cash"}"#]),
    (OPERATORS, "summary: or of several fields", r#"{"$or":[{"Location":["New York"]},{"Day":["Monday"]}]}"#,
        &[r#"{"Location":"New York"}"#, r#"{"Day":"Monday","Location":"x"}"#], &[r#"{"Location":"x","Day":"y"}"#]),
    (OPERATORS, "summary: wildcard", r#"{"FileName":[{"wildcard":"dir/*.png"}]}"#, &[r#"{"FileName":"dir/a.png"}"#, r#"{"FileName":"dir/.png"}"#], &[r#"{"FileName":"dir/a.gif"}"#, r#"{"FileName":"x/dir/a.png"}"#]),
    (OPERATORS, "prefix", r#"{"time":[{"prefix":"2017-10-02"}]}"#, &[r#"{"time":"2017-10-02T18:43:48Z"}"#], &[r#"{"time":"2017-10-03T18:43:48Z"}"#]),
    (OPERATORS, "prefix, ignoring case", r#"{"detail":{"service":[{"prefix":{"equals-ignore-case":"EventB"}}]}}"#,
        &[r#"{"detail":{"service":"EventBridge"}}"#, r#"{"detail":{"service":"eventbus"}}"#], &[r#"{"detail":{"service":"Lambda"}}"#]),
    (OPERATORS, "suffix, ignoring case", r#"{"detail":{"FileName":[{"suffix":{"equals-ignore-case":".png"}}]}}"#,
        &[r#"{"detail":{"FileName":"a.PNG"}}"#], &[r#"{"detail":{"FileName":"a.PN"}}"#]),
    (OPERATORS, "anything-but a string", r#"{"detail":{"state":[{"anything-but":"initializing"}]}}"#,
        &[r#"{"detail":{"state":"running"}}"#, r#"{"detail":{"state":1}}"#], &[r#"{"detail":{"state":"initializing"}}"#, r#"{"detail":{}}"#]),
    (OPERATORS, "anything-but a number", r#"{"detail":{"x-limit":[{"anything-but":123}]}}"#,
        &[r#"{"detail":{"x-limit":124}}"#, r#"{"detail":{"x-limit":"123"}}"#], &[r#"{"detail":{"x-limit":123.0}}"#]),
    (OPERATORS, "anything-but a list of strings", r#"{"detail":{"state":[{"anything-but":["stopped","overloaded"]}]}}"#,
        &[r#"{"detail":{"state":"running"}}"#], &[r#"{"detail":{"state":"overloaded"}}"#]),
    (OPERATORS, "anything-but a list of numbers", r#"{"detail":{"x-limit":[{"anything-but":[100,200,300]}]}}"#,
        &[r#"{"detail":{"x-limit":150}}"#], &[r#"{"detail":{"x-limit":2e2}}"#]),
    (OPERATORS, "anything-but, ignoring case", r#"{"detail":{"state":[{"anything-but":{"equals-ignore-case":"initializing"}}]}}"#,
        &[r#"{"detail":{"state":"running"}}"#], &[r#"{"detail":{"state":"INITIALIZING"}}"#]),
    (OPERATORS, "anything-but a list, ignoring case", r#"{"detail":{"state":[{"anything-but":{"equals-ignore-case":["initializing","stopped"]}}]}}"#,
        &[r#"{"detail":{"state":"running"}}"#], &[r#"{"detail":{"state":"Stopped"}}"#]),
    (OPERATORS, "anything-but prefixes", r#"{"detail":{"state":[{"anything-but":{"prefix":["init","error"]}}]}}"#,
        &[r#"{"detail":{"state":"running"}}"#], &[r#"{"detail":{"state":"error-404"}}"#, r#"{"detail":{"state":"initializing"}}"#]),
    (OPERATORS, "anything-but suffixes", r#"{"detail":{"FileName":[{"anything-but":{"suffix":[".txt",".rtf"]}}]}}"#,
        &[r#"{"detail":{"FileName":"a.png"}}"#], &[r#"{"detail":{"FileName":"a.rtf"}}"#]),
    (OPERATORS, "anything-but a wildcard", r#"{"detail":{"FilePath":[{"anything-but":{"wildcard":"*/lib/*"}}]}}"#,
        &[r#"{"detail":{"FilePath":"/usr/bin/x"}}"#], &[r#"{"detail":{"FilePath":"/usr/lib/x"}}"#]),
    (OPERATORS, "anything-but wildcards", r#"{"detail":{"FilePath":[{"anything-but":{"wildcard":["*/lib/*","*/bin/*"]}}]}}"#,
        &[r#"{"detail":{"FilePath":"/usr/share/x"}}"#], &[r#"{"detail":{"FilePath":"/usr/bin/x"}}"#]),
    (OPERATORS, "numeric", r#"{"detail":{"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"numeric":["=",3.018e2]}]}}"#,
        &[r#"{"detail":{"c-count":5,"d-count":-1,"x-limit":301.8}}"#], &[r#"{"detail":{"c-count":0,"d-count":-1,"x-limit":301.8}}"#, r#"{"detail":{"c-count":5,"d-count":10,"x-limit":301.8}}"#]),
    (OPERATORS, "addresses", r#"{"detail":{"sourceIPAddress":[{"cidr":"10.0.0.0/24"}]}}"#,
        &[r#"{"detail":{"sourceIPAddress":"10.0.0.255"}}"#], &[r#"{"detail":{"sourceIPAddress":"10.0.1.0"}}"#, r#"{"detail":{"sourceIPAddress":"host"}}"#]),
    (OPERATORS, "exists", r#"{"detail":{"state":[{"exists":true}]}}"#, &[TERMINATED], &[LAUNCHED]),
    (OPERATORS, "does not exist", r#"{"detail":{"c-count":[{"exists":false}]}}"#, &[TERMINATED], &[r#"{"detail":{"c-count":{"c1":100}, "c-count":5}}"#]),
    (OPERATORS, "equals, ignoring case", r#"{"detail-type":[{"equals-ignore-case":"ec2 instance state-change notification"}],"resources":[{"equals-ignore-case":"arn:aws:ec2:us-west-1:123456789012:INSTANCE/i-1234567890abcdef0"}],"detail":{"state":[{"equals-ignore-case":"TERMINATED"}]}}"#,
        &[TERMINATED], &[LAUNCHED]),
    (OPERATORS, "several operators", r#"{"time":[{"prefix":"2017-10-02"}],"detail":{"state":[{"anything-but":"initializing"}],"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"anything-but":[100,200,300]}]}}"#,
        &[r#"{"time":"2017-10-02T18:43:48Z","detail":{"state":"running","c-count":3,"d-count":8,"x-limit":250}}"#],
        &[r#"{"time":"2017-10-02T18:43:48Z","detail":{"state":"running","c-count":3,"d-count":8,"x-limit":200}}"#]),
    (OPERATORS, "or with operators", r#"{"detail":{"$or":[{"c-count":[{"numeric":[">",0,"<=",5]}]},{"d-count":[{"numeric":["<",10]}]},{"x-limit":[{"numeric":["=",3.018e2]}]}]}}"#,
        &[r#"{"detail":{"c-count":1}}"#, r#"{"detail":{"c-count":9,"x-limit":301.8}}"#], &[r#"{"detail":{"c-count":6,"d-count":10,"x-limit":301}}"#]),
];

#[test]
fn every_published_example_behaves_as_documented() {
    let mut all = Engine::default();
    for (id, (.., pattern, _, _)) in EXAMPLES.iter().enumerate() {
        all.insert(id, &Pattern::parse(pattern).unwrap());
    }
    let mut scratch = Scratch::default();
    for (id, (page, example, pattern, yes, no)) in EXAMPLES.iter().enumerate() {
        let parsed = Pattern::parse(pattern).unwrap();
        for (event, wanted) in yes.iter().map(|e| (e, true)).chain(no.iter().map(|e| (e, false))) {
            let checked = Event::check(event.as_bytes()).unwrap();
            assert_eq!(parsed.matches_event(checked), wanted, "{page}, {example}: {pattern} and {event}");
            let found = all.matches(checked, &mut scratch).any(|found| *found == id);
            assert_eq!(found, wanted, "the engine: {page}, {example}: {pattern} and {event}");
        }
    }
}

/// What the guide says is refused, with the words in which the service does.
#[test]
fn what_is_documented_as_an_error_is_one() {
    let reason = |pattern: &str| Pattern::parse(pattern).unwrap_err().to_string();
    assert!(reason(r#"{"a":[{"wildcard":"a**b"}]}"#).contains("Consecutive wildcard characters at pos 2"));
    assert!(reason(r#"{"a":[{"anything-but":["x",1]}]}"#).contains("either all values are number or string"));
    let complex = Pattern::parse(r#"{"a":[{"wildcard":"*a*a*a*a*a*a*a*a*a*a*a*a"}]}"#).unwrap_err();
    assert_eq!(complex, RulesError::TooComplex);
    assert_eq!(
        complex.to_string(),
        "Event pattern is not valid. Reason: Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"
    );
}
