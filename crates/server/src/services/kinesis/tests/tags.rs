//! Tags of streams and consumers.

use std::collections::BTreeMap;

use super::*;

const STREAM: &str = "arn:aws:kinesis:eu-central-1:000000000000:stream/s";

fn tags(of: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> BTreeMap<String, String> {
    of.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

impl World {
    async fn add(&self, tags: BTreeMap<String, String>) -> Result<(), ServiceError> {
        let input = AddTagsToStreamInput { stream_name: Some("s".into()), tags, ..Default::default() };
        self.service.add_tags_to_stream(&self.call(), input).await.map(drop)
    }

    async fn tagged(&self, arn: &str) -> Vec<(String, String)> {
        let input = ListTagsForResourceInput { resource_arn: arn.into(), ..Default::default() };
        let listed = self.service.list_tags_for_resource(&self.call(), input).await.unwrap().tags.unwrap();
        listed.into_iter().map(|tag| (tag.key, tag.value.unwrap())).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn both_forms_are_of_the_same_tags() {
    let world = World::new().await;
    let create = CreateStreamInput {
        stream_name: "s".into(),
        shard_count: Some(1),
        tags: Some(tags([("created", "yes")])),
        ..Default::default()
    };
    world.service.create_stream(&world.call(), create).await.unwrap();
    world.add(tags([("b", "1"), ("ü b/=+-@_.:", "")])).await.unwrap();
    let input = TagResourceInput { resource_arn: STREAM.into(), tags: tags([("b", "2")]), ..Default::default() };
    world.service.tag_resource(&world.call(), input).await.unwrap();
    let all: Vec<_> = tags([("b", "2"), ("created", "yes"), ("ü b/=+-@_.:", "")]).into_iter().collect();
    assert_eq!(world.tagged(STREAM).await, all);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let input = ListTagsForStreamInput {
            stream_arn: Some(STREAM.into()),
            exclusive_start_tag_key: after,
            limit: Some(1),
            ..Default::default()
        };
        let page = world.service.list_tags_for_stream(&world.call(), input).await.unwrap();
        after = page.tags.last().map(|tag| tag.key.clone());
        seen.extend(page.tags.into_iter().map(|tag| (tag.key, tag.value.unwrap())));
        if !page.has_more_tags {
            break;
        }
    }
    assert_eq!(seen, all);
    let input = RemoveTagsFromStreamInput {
        stream_name: Some("s".into()),
        tag_keys: vec!["b".into(), "never there".into()],
        ..Default::default()
    };
    world.service.remove_tags_from_stream(&world.call(), input).await.unwrap();
    let keys = vec!["created".to_owned()];
    let input = UntagResourceInput { resource_arn: STREAM.into(), tag_keys: keys, ..Default::default() };
    world.service.untag_resource(&world.call(), input).await.unwrap();
    assert_eq!(world.tagged(STREAM).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_has_fifty_tags_of_allowed_characters() {
    let world = World::new().await;
    world.create("s", 1).await;
    world.add(tags((0..50).map(|n| (n.to_string(), "x")))).await.unwrap();
    world.add(tags([("0", "changed")])).await.unwrap();
    let error = world.add(tags([("one more", "x")])).await.unwrap_err();
    assert_eq!(error.code, "InvalidArgumentException");
    assert!(error.message.contains("cannot have more than 50 tags"), "{}", error.message);
    for (key, value) in [("a%b", ""), ("a", "b%"), ("AWS:x", ""), ("", "x"), ("a", "\u{7}")] {
        let error = world.add(tags([(key, value)])).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException", "{key} {value}");
    }
    assert_eq!(world.tagged(STREAM).await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_has_tags_of_its_own() {
    let world = World::new().await;
    world.create("s", 1).await;
    let register = RegisterStreamConsumerInput {
        stream_arn: STREAM.into(),
        consumer_name: "c".into(),
        tags: Some(tags([("a", "1")])),
        ..Default::default()
    };
    let consumer = world.service.register_stream_consumer(&world.call(), register).await.unwrap().consumer;
    let arn = consumer.consumer_arn;
    let input = TagResourceInput { resource_arn: arn.clone(), tags: tags([("b", "2")]), ..Default::default() };
    world.service.tag_resource(&world.call(), input).await.unwrap();
    assert_eq!(world.tagged(&arn).await, tags([("a", "1"), ("b", "2")]).into_iter().collect::<Vec<_>>());
    assert!(world.tagged(STREAM).await.is_empty());
    let other = format!("{arn}0");
    let input = ListTagsForResourceInput { resource_arn: other, ..Default::default() };
    let error = world.service.list_tags_for_resource(&world.call(), input).await.unwrap_err();
    assert_eq!(error.code, "ResourceNotFoundException");
}
