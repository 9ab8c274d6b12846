"""What balancers say with their checks: shown as they say it, bounded, forgotten; what is malformed is ignored."""

import pytest

from healthagent.balancers import CHARACTERS, FORGOTTEN_SECONDS, MOST, Balancers, Opinion, opinion

# as HAProxy 2.6 and 3.0 send it
UP = "UP; address=10.0.0.11; port=3306; name=reader/n1; node=lb1; weight=100/300; scur=13/22; qcur=0"


@pytest.mark.parametrize(
    ("header", "state"),
    [
        (UP, "UP"),
        (UP.replace("UP", "UP 1/2", 1), "UP 1/2"),
        (UP.replace("UP", "DOWN 1/2", 1), "DOWN 1/2"),
        (UP.replace("UP", "NOLB", 1), "NOLB"),
        (UP.replace("UP", "NOLB 1/3", 1), "NOLB 1/3"),
        (UP.replace("UP", "no check", 1), "no check"),
        (UP + "; throttle=25%", "UP"),
        (UP.replace("address=10.0.0.11; port=3306; ", "address=/run/mysqld/mysqld.sock; "), "UP"),
        (UP.replace("qcur=0", "qcur=0; later=1; =; x"), "UP"),
    ],
)
def test_what_haproxy_says(header: str, state: str) -> None:
    assert opinion(header) == Opinion(
        node="lb1", name="reader/n1", state=state, weight=100, weight_total=300, sessions=13, sessions_total=22, queue=0
    )


@pytest.mark.parametrize(
    "header",
    [
        "",
        ";",
        "UP",
        "up" + UP[2:],
        "OK" + UP[2:],
        "UP 1" + UP[2:],
        "UP 1/2/3" + UP[2:],
        UP.replace("; ", ";"),
        *(UP.replace(f"{part}=", f"{part}s=") for part in ("name", "node", "weight", "scur", "qcur")),
        *(UP.replace(f"{part}=", f"{part}=-") for part in ("weight", "scur", "qcur")),
        UP.replace("node=lb1", "node="),
        UP.replace("100/300", "100"),
        UP.replace("100/300", "100/" + "3" * 10),
        UP.replace("100/300", "\u0661/2"),
        UP.replace("lb1", "l\tb1"),
        UP.replace("lb1", "l\x1bb1"),
        UP.replace("lb1", "lb\u00fc"),
        UP.replace("lb1", "lb\udcff"),
        UP.replace("lb1", "l" * CHARACTERS),
        "UP; " * 4000,
    ],
)
def test_what_is_malformed_is_ignored(header: str) -> None:
    assert opinion(header) is None
    book = Balancers()
    book.hear("10.0.0.5", "reader", header, 1.0)
    assert book.known(1.0) == ()


def test_the_last_word_of_each_counts_and_they_are_shown_in_order() -> None:
    book = Balancers()
    book.hear("10.0.0.6", "reader", UP.replace("lb1", "lb2"), 1.0)
    book.hear("10.0.0.5", "writer", UP.replace("reader/", "writer/"), 2.0)
    book.hear("10.0.0.5", "reader", UP, 3.0)
    book.hear("10.0.0.6", "reader", UP.replace("lb1", "lb2").replace("UP", "DOWN"), 4.0)

    known = book.known(5.0)
    assert [(heard.peer, heard.role, heard.opinion.name, heard.at) for heard in known] == [
        ("10.0.0.5", "reader", "reader/n1", 3.0),
        ("10.0.0.5", "writer", "writer/n1", 2.0),
        ("10.0.0.6", "reader", "reader/n1", 4.0),
    ]
    assert known[2].opinion.state == "DOWN"


def test_who_is_not_heard_any_more_is_forgotten() -> None:
    book = Balancers()
    book.hear("10.0.0.5", "reader", UP, 100.0)
    book.hear("10.0.0.6", "reader", UP, 130.0)

    assert len(book.known(100.0 + FORGOTTEN_SECONDS)) == 2
    assert [heard.peer for heard in book.known(100.1 + FORGOTTEN_SECONDS)] == ["10.0.0.6"]
    assert book.known(131.0 + FORGOTTEN_SECONDS) == ()


def test_there_are_only_so_many_and_the_one_heard_longest_ago_goes() -> None:
    book = Balancers()
    for number in range(MOST):
        book.hear(f"10.0.1.{number}", "reader", UP, float(number) / 10)
    book.hear("10.0.1.0", "reader", UP, 7.0)
    for number in range(10_000):
        book.hear("10.0.0.66", "reader", UP.replace("lb1", f"lb{number}"), 8.0)
        book.hear("10.0.1.0", "reader", UP, 8.0)

    known = book.known(8.0)
    assert len(known) == MOST
    assert "10.0.1.0" in {heard.peer for heard in known}
    assert "10.0.1.1" not in {heard.peer for heard in known}
