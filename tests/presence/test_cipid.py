"""CIPID cards."""

from sipbridge.presence import pidf
from sipbridge.presence.cipid import print_cipid
from sipbridge.presence.model import Cipid, Person, Presence


def test_only_what_has_a_value_is_printed_in_a_fixed_order() -> None:
    card = Cipid(
        sound="http://y/s.wav", card="http://y/c.vcf", display_name="A & B", display_name_lang="en"
    )
    assert print_cipid(card) == (
        "<cipid:card>http://y/c.vcf</cipid:card>"
        '<cipid:display-name xml:lang="en">A &amp; B</cipid:display-name>'
        "<cipid:sound>http://y/s.wav</cipid:sound>"
    )


def test_names_in_two_languages_both_survive() -> None:
    body = (
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
        'xmlns:c="urn:ietf:params:xml:ns:pidf:cipid" entity="sip:q@y"><dm:person id="p">'
        '<c:display-name xml:lang="en">Quay</c:display-name>'
        '<c:display-name xml:lang="fr">Quai</c:display-name>'
        "</dm:person></presence>"
    )
    document = pidf.parse(body.encode())
    assert document.persons[0].cipid == Cipid(display_name="Quay", display_name_lang="en")
    assert "Quai" in document.persons[0].extensions[0].xml
    assert pidf.parse(pidf.serialise(document)) == document


def test_a_card_of_a_person_comes_back() -> None:
    document = Presence("sip:q@y", persons=(Person("p", cipid=Cipid(homepage="http://y/")),))
    assert pidf.parse(pidf.serialise(document)) == document
