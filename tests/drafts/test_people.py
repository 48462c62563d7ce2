import pytest

from zoowizard.drafts import people

ORCID = "0000-0002-1825-0097"


def test_orcid_check_digit() -> None:
    from bioimageio.spec._internal.types import OrcidId

    for right in (ORCID, "0000-0001-2345-6789", "0000-0002-1694-233X"):
        assert people.check_orcid(right) is None
        OrcidId(right)
    assert "last digit" in str(people.check_orcid("0000-0002-1825-0098"))
    assert "four groups" in str(people.check_orcid("0000-0002-1825"))
    assert "the number 5" in str(people.check_orcid(5))
    for written in (f"https://orcid.org/{ORCID}", "0000000218250097"):
        assert str(people.check_orcid(written)).endswith(f"write {ORCID}")
    assert "last digit" in str(people.check_orcid("https://orcid.org/0000-0002-1825-0098"))


@pytest.mark.parametrize(
    "address", ["ada@uni.edu", "a.b+c@sub.uni-x.de", "ada", "a@b", "a b@c.org", "a@x.test", "a..b@c.org"]
)
def test_email_agrees_with_the_library_of_the_zoo(address: str) -> None:
    from pydantic import EmailStr, TypeAdapter, ValidationError

    try:
        TypeAdapter(EmailStr).validate_python(address)
        right = True
    except ValidationError:
        right = False
    assert (people.check_email(address) is None) is right


def test_github_user() -> None:
    assert people.check_github_user("ada-lovelace") is None
    for written in ("@ada", "https://github.com/ada", "github.com/ada/"):
        assert str(people.check_github_user(written)).endswith("write ada")
    for wrong in ("a--b", "-a", "a" * 40, "ada lovelace", "ada_l"):
        assert "no GitHub user name" in str(people.check_github_user(wrong))


def test_authors_say_who_and_what() -> None:
    assert people.check_authors([{"name": "Żaneta 王", "affiliation": "ETH", "orcid": ORCID}]) is None
    assert "person 2 (`Bob/Eve`): name" in str(people.check_authors([{"name": "Ada"}, {"name": "Bob/Eve"}]))
    assert "orcid `1234`" in str(people.check_authors([{"name": "Ada", "orcid": "1234"}]))
    assert "did you mean affiliation?" in str(people.check_authors([{"name": "Ada", "afiliation": "ETH"}]))
    assert "no name" in str(people.check_authors([{"orcid": ORCID}]))
    assert "no github_user" in str(people.check_maintainers([{"name": "Ada"}]))
    assert "the number 7" in str(people.check_authors([7]))


def test_people_are_read_from_one_line() -> None:
    line = f"Ada Lovelace, University of X, Dept. of Y, {ORCID}; Grace Hopper, @grace, grace@navy.mil"
    assert people.parse_people(line) == [
        {"name": "Ada Lovelace", "orcid": ORCID, "affiliation": "University of X, Dept. of Y"},
        {"name": "Grace Hopper", "github_user": "grace", "email": "grace@navy.mil"},
    ]
    assert people.parse_people(f"Ada, https://orcid.org/{ORCID}")[0]["orcid"] == ORCID
    assert people.parse_maintainers("ada; Grace Hopper, github.com/grace") == [
        {"github_user": "ada"},
        {"name": "Grace Hopper", "github_user": "grace"},
    ]


def test_citations() -> None:
    line = (
        "Weigert et al., StarDist, 2020, https://doi.org/10.1109/WACV45572.2020.9093435; YOLO, https://github.com/u/u"
    )
    read = people.parse_citations(line)
    assert read == [
        {"text": "Weigert et al., StarDist, 2020", "doi": "10.1109/WACV45572.2020.9093435"},
        {"text": "YOLO", "url": "https://github.com/u/u"},
    ]
    assert people.check_citations(read) is None
    assert "neither doi nor url" in str(people.check_citations([{"text": "a paper"}]))
    assert "no text" in str(people.check_citations([{"doi": "10.1000/182"}]))
    address = "https://doi.org/10.1000/182"
    assert "doi " in str(people.check_citations([{"text": "a", "doi": address}]))
    assert "write 10.1000/182" in str(people.check_citations([{"text": "a", "doi": address}]))


def test_github_users_are_left_to_the_network() -> None:
    assert people.github_users([{"name": "Ada"}]) is None
    assert people.github_users([{"github_user": "ada"}]) == "does the GitHub user `ada` exist?"
    assert "`ada`, `grace`" in str(people.github_users([{"github_user": "ada"}, {"github_user": "grace"}]))
