"""The search index through opensearch-py, with HTTP Basic and with SigV4."""

import boto3
import pytest
from conftest import ACCESS_KEY, REGION, SECRET_KEY
from opensearchpy import AWSV4SignerAuth, NotFoundError, OpenSearch, RequestError, RequestsHttpConnection, helpers


@pytest.fixture(params=["basic", "sigv4"])
def search(server, request):
    auth = (ACCESS_KEY, SECRET_KEY)
    if request.param == "sigv4":
        session = boto3.Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION)
        auth = AWSV4SignerAuth(session.get_credentials(), REGION, "es")
    return OpenSearch(server.url, http_auth=auth, connection_class=RequestsHttpConnection, timeout=30)


PEOPLE = [
    {"name": "Ada Lovelace", "born": "1815-12-10", "age": 36, "tags": ["math", "engine"], "alive": False},
    {"name": "Alan Turing", "born": "1912-06-23", "age": 41, "tags": ["math", "machine"], "alive": False},
    {"name": "Grace Hopper", "born": "1906-12-09", "age": 85, "tags": ["compiler"], "alive": False, "rank": "admiral"},
]


@pytest.fixture
def people(search, unique):
    index = f"{unique}"
    helpers.bulk(search, [{"_index": index, "_id": str(n), "_source": p} for n, p in enumerate(PEOPLE)], refresh=True)
    yield index
    search.indices.delete(index=index)


def names(search, index, query, **more):
    answer = search.search(index=index, body={"query": query, **more})
    return sorted(h["_source"]["name"].split()[0] for h in answer["hits"]["hits"])


def test_queries(search, people):
    for query, expected in [
        ({"match_all": {}}, ["Ada", "Alan", "Grace"]),
        ({"match": {"name": "turing lovelace"}}, ["Ada", "Alan"]),
        ({"match": {"name": {"query": "alan turing", "operator": "and"}}}, ["Alan"]),
        ({"term": {"tags.keyword": "math"}}, ["Ada", "Alan"]),
        ({"terms": {"name.keyword": ["Ada Lovelace", "Grace Hopper"]}}, ["Ada", "Grace"]),
        ({"range": {"age": {"gt": 36, "lte": 85}}}, ["Alan", "Grace"]),
        ({"range": {"born": {"lt": "1900-01-01"}}}, ["Ada"]),
        ({"exists": {"field": "rank"}}, ["Grace"]),
        ({"bool": {"must": [{"term": {"alive": False}}], "must_not": [{"exists": {"field": "rank"}}], "filter": [{"range": {"age": {"gte": 40}}}]}}, ["Alan"]),
        ({"bool": {"should": [{"match": {"name": "ada"}}, {"match": {"tags": "compiler"}}], "minimum_should_match": 1}}, ["Ada", "Grace"]),
        ({"query_string": {"query": "name:tur* OR (tags:compiler AND age:[80 TO 90])"}}, ["Alan", "Grace"]),
        ({"query_string": {"query": '"Grace Hopper"'}}, ["Grace"]),
    ]:
        assert names(search, people, query) == expected, query


def test_sort_page_source_and_count(search, people):
    answer = search.search(index=people, body={"sort": [{"age": "desc"}], "from": 1, "size": 1, "_source": ["name"]})
    assert [h["_source"] for h in answer["hits"]["hits"]] == [{"name": "Alan Turing"}]
    assert answer["hits"]["total"]["value"] == 3
    assert search.count(index=people, body={"query": {"term": {"tags.keyword": "math"}}})["count"] == 2
    mapping = search.indices.get_mapping(index=people)[people]["mappings"]["properties"]
    assert mapping["age"]["type"] == "long" and mapping["born"]["type"] == "date" and mapping["alive"]["type"] == "boolean"
    assert mapping["name"]["type"] == "text" and mapping["name"]["fields"]["keyword"]["type"] == "keyword"


def test_the_same_id_is_the_same_document(search, people):
    for _ in range(2):
        helpers.bulk(search, [{"_index": people, "_id": "0", "_source": PEOPLE[0] | {"age": 37}}], refresh=True)
    assert search.count(index=people)["count"] == 3
    assert search.get(index=people, id="0")["_source"]["age"] == 37


def test_bad_input(search, people):
    with pytest.raises(NotFoundError):
        search.search(index="absent-index", body={"query": {"match_all": {}}})
    with pytest.raises(RequestError) as error:
        search.search(index=people, body={"query": {"nonsense": {}}})
    assert "nonsense" in str(error.value)
    with pytest.raises(RequestError):
        search.search(index=people, body={"from": 10_000, "size": 1})
    with pytest.raises(RequestError) as error:
        search.search(index=people, body={"aggs": {"a": {"nonsense": {}}}})
    answer = search.bulk(body='{"index": {"_index": "%s", "_id": "x"}}\nnot json\n{"index": {"_index": "%s", "_id": "y"}}\n{"name": "fine"}\n' % (people, people))
    statuses = [item["index"]["status"] for item in answer["items"]]
    assert answer["errors"] and statuses[0] == 400 and statuses[1] == 201


def test_documents_survive_kill(new_server):
    server = new_server().start()
    make = lambda: OpenSearch(server.url, http_auth=(ACCESS_KEY, SECRET_KEY), timeout=30)
    helpers.bulk(make(), [{"_index": "kept", "_id": str(n), "_source": {"n": n}} for n in range(100)])
    server.kill()
    server.start()
    assert make().count(index="kept")["count"] == 100
