use super::*;
use crate::services::testing::{ACCOUNT, House};

struct World {
    house: House,
    service: Arc<SchedulerService>,
}

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        Self { service: SchedulerService::new(house.flow.schedules.clone()), house }
    }

    async fn create(&self, expression: &str, target: Target) -> Result<CreateScheduleOutput, ServiceError> {
        let input = CreateScheduleInput {
            name: "s".into(),
            schedule_expression: expression.into(),
            flexible_time_window: FlexibleTimeWindow { mode: "OFF".into(), ..Default::default() },
            target,
            ..Default::default()
        };
        self.service.create_schedule(&self.house.call(), input).await
    }
}

fn target(arn: &str, group: Option<&str>) -> Target {
    Target {
        arn: arn.into(),
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/r"),
        sqs_parameters: group.map(|group| SqsParameters { message_group_id: Some(group.into()) }),
        ..Default::default()
    }
}

fn tags(keys: &[&str]) -> Vec<Tag> {
    keys.iter().map(|key| Tag { key: (*key).into(), value: "v".into(), ..Default::default() }).collect()
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_could_not_run_is_refused() {
    let world = World::new().await;
    let queue = format!("arn:aws:sqs:eu-central-1:{ACCOUNT}:q.fifo");
    for (expression, group) in [
        ("rate(10 minutes)", None),
        ("rate(10 minutes)", Some("g g")),
        ("rate(10 minutes)", Some("")),
        ("rate( 10 minutes )", Some("g")),
        ("rate(10  minutes)", Some("g")),
    ] {
        let error = world.create(expression, target(&queue, group)).await.unwrap_err();
        assert_eq!(error.code, "ValidationException", "{expression} {group:?}");
    }
    world.create("rate(10 minutes)", target(&queue, Some("g"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_repetition_of_an_update_changes_nothing() {
    let world = World::new().await;
    let function = format!("arn:aws:lambda:eu-central-1:{ACCOUNT}:function:f");
    world.create("rate(10 minutes)", target(&function, None)).await.unwrap();
    let update = async |expression: &str, token: Option<&str>| {
        let input = UpdateScheduleInput {
            name: "s".into(),
            schedule_expression: expression.into(),
            flexible_time_window: FlexibleTimeWindow { mode: "OFF".into(), ..Default::default() },
            target: target(&function, None),
            client_token: token.map(Into::into),
            ..Default::default()
        };
        world.service.update_schedule(&world.house.call(), input).await
    };
    let shown = async || {
        let input = GetScheduleInput { name: "s".into(), ..Default::default() };
        world.service.get_schedule(&world.house.call(), input).await.unwrap().schedule_expression.unwrap()
    };
    update("rate(1 hour)", Some("a")).await.unwrap();
    update("rate(2 hours)", Some("b")).await.unwrap();
    update("rate(1 hour)", Some("a")).await.unwrap();
    assert_eq!(shown().await, "rate(2 hours)");
    assert_eq!(update("rate(3 hours)", Some("a")).await.unwrap_err().code, "ConflictException");
    update("rate(1 hour)", None).await.unwrap();
    assert_eq!(shown().await, "rate(1 hour)");
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_given_once_and_is_not_the_service_s() {
    let world = World::new().await;
    let (service, call) = (&world.service, world.house.call());
    let create = async |keys: &[&str]| {
        let input = CreateScheduleGroupInput { name: "g".into(), tags: Some(tags(keys)), ..Default::default() };
        service.create_schedule_group(&call, input).await
    };
    for bad in [&["k", "k"], &["k", "Aws:k"]] {
        assert_eq!(create(bad).await.unwrap_err().code, "ValidationException");
    }
    let resource_arn = create(&["k"]).await.unwrap().schedule_group_arn;
    let twice = TagResourceInput { resource_arn, tags: tags(&["l", "l"]), ..Default::default() };
    assert_eq!(service.tag_resource(&call, twice).await.unwrap_err().code, "ValidationException");
}
