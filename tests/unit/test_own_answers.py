"""What HAProxy refuses by itself is what it answered beyond what its servers did."""

from serve_app.delivery.own_answers import OwnAnswers, counted_on, own_answers
from serve_app.players.arrival import shared_secret

SAID = """Name: HAProxy
Version: 2.8.25-5cf5d0683
Nbthread: 1
Process_num: 1
Pid: 4711
Uptime_sec: 12

# pxname,svname,scur,hrsp_2xx,hrsp_4xx,hrsp_5xx,status
prometheus,FRONTEND,0,0,9,9,OPEN
http_frontend,FRONTEND,3,1000,27,12,OPEN
default_backend,BACKEND,0,0,0,2,UP
http-headcount,SERVE_REPLICA_1,1,500,11,3,UP
http-headcount,SERVE_REPLICA_2,2,500,9,4,UP
http-headcount,SERVE_PROXY_ACTOR,0,0,,,UP
http-headcount,BACKEND,3,1000,20,9,UP
stats,FRONTEND,0,0,1,0,OPEN

"""


def test_haproxys_own_are_what_clients_got_and_no_server_said() -> None:
    # To clients 27 answers of 400 to 499, of which the servers said 11 + 9; and 12 from 500 on, of which they said 3 + 4.
    assert own_answers(SAID) == OwnAnswers(4711, bad_request=7, unavailable=5)


def test_what_is_no_statistics_counts_nothing() -> None:
    assert [own_answers(said) for said in ("", "Unknown command.", "# pxname,svname,hrsp_4xx,hrsp_5xx", "Pid: 4711\n")] == [None] * 4


def test_an_answer_on_its_way_is_not_taken_back() -> None:
    # A server has answered 422 and HAProxy has not passed it on yet: for a moment it looks like one less of its own.
    assert counted_on(OwnAnswers(4711, 7, 5), OwnAnswers(4711, 6, 8)) == OwnAnswers(4711, 7, 8)


def test_a_new_haproxy_counts_from_nothing() -> None:
    assert counted_on(OwnAnswers(4711, 7, 5), OwnAnswers(4712, 1, -1)) == OwnAnswers(4712, 1, 0)


def test_the_secret_that_is_given_goes_before_the_one_that_follows_from_the_journal() -> None:
    derived = shared_secret({}, journal_url="redis://:a@host/0")
    assert derived == shared_secret({"HEADCOUNT_FRONT_DOOR_SECRET": ""}, journal_url="redis://:a@host/0")
    assert derived != shared_secret({}, journal_url="redis://:b@host/0")
    assert shared_secret({"HEADCOUNT_FRONT_DOOR_SECRET": "given"}, journal_url="redis://:a@host/0") == b"given"
