"""The inbox page: what people see, and that a mail can do nothing to them."""

import base64
import re

from tests.relay_sandbox.harness import RECIPIENT, Relay

EVIL = "<script>alert(1)</script>"


def page(relay: Relay, path: str) -> str:
    answer = relay.get(path)
    assert answer.status == 200
    return answer.body.decode()


def mail_path(relay: Relay) -> str:
    return f"/inbox/{relay.messages()[-1]['id']}"


def test_an_empty_inbox_says_how_to_fill_it(relay: Relay) -> None:
    html = page(relay, "/")
    assert "Todavía no hay correos" in html
    assert f"{relay.url}/accounts/sandbox/messages" in html


def test_the_newest_mail_is_first_and_pages_go_both_ways(relay: Relay) -> None:
    for number in range(60):
        relay.send(f"p{number:02}@example.com")

    def people(html: str) -> list[str]:
        return re.findall(r"p\d\d(?=@)", html)

    def href(html: str, rel: str) -> str:
        found = re.search(rf'href="([^"]+)" rel="{rel}"', html)
        assert found is not None
        return found[1].replace("&amp;", "&")

    first = page(relay, "/?q=example.com")
    second = page(relay, href(first, "next"))
    third = page(relay, href(second, "next"))
    expected = [f"p{number:02}" for number in range(59, -1, -1)]
    assert people(first) + people(second) + people(third) == expected
    assert 'rel="next"' not in third
    assert 'rel="prev"' not in first
    assert people(page(relay, href(third, "prev"))) == people(second)
    assert "60 correos" in first


def test_mails_are_found_by_recipient_and_subject(relay: Relay) -> None:
    relay.send("ana@example.com", subject="Factura")
    relay.send("luis@example.com", subject="Recibo 100%")
    assert "luis@" not in page(relay, "/?q=FACTURA")
    assert "ana@" not in page(relay, "/?q=luis@")
    assert "ana@" not in page(relay, "/?q=100%25")
    assert "Nada coincide con «&lt;b&gt;»" in page(relay, "/?q=%3Cb%3E")


def test_a_mail_shows_headers_variables_and_its_rendered_html_in_a_frame(relay: Relay) -> None:
    model = {"nombre": "Ana <b>", "cedula": "0912345678", "monto": "10", "vence": "hoy", "lista": [1, {"a": "é"}]}
    relay.send_template(relay.payment, model, reply_to={"email": "ayuda@example.com"})
    path = mail_path(relay)
    html = page(relay, path)
    assert "Cobranzas Andina &lt;cobranzas@example.com&gt;" in html
    assert "Ana Pérez &lt;ana@example.com&gt;" in html
    assert "ayuda@example.com" in html
    assert "Aviso de pago" in html
    assert "<td>Ana &lt;b&gt;</td>" in html
    assert "[1, {&quot;a&quot;: &quot;é&quot;}]" in html
    assert f'<iframe sandbox="" src="{path}/html"' in html
    assert "<strong>Ana &lt;b&gt;</strong>" in page(relay, f"{path}/html")


def test_nothing_of_a_mail_reaches_a_page_unescaped(relay: Relay) -> None:
    relay.send(
        subject=EVIL,
        from_name=EVIL,
        recipients=[{**RECIPIENT, "name": EVIL}],
        reply_to={"email": "a@example.com", "name": EVIL},
        text=EVIL,
        attachments=[{"filename": EVIL, "type": EVIL, "base64_content": ""}],
    )
    relay.send_template(relay.payment, {EVIL: EVIL, "{{nombre}}": "{{{style}}}"})
    for item in relay.messages():
        html = page(relay, f"/inbox/{item['id']}")
        assert "<script" not in html
        assert "{{{style}}}" not in html or "<td>{{{style}}}</td>" in html
    assert "<script" not in page(relay, "/")
    assert "<script" not in page(relay, f"/?q={EVIL.replace('/', '%2F')}")


def test_pages_and_frames_forbid_scripts_and_other_sites(relay: Relay) -> None:
    relay.send(html=EVIL)
    path = mail_path(relay)
    for one in ("/", path):
        answer = relay.get(one)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "script" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(rb'(?:src|href|action)="(?!/)', answer.body)
    frame = relay.get(f"{path}/html")
    assert frame.body.decode() == EVIL
    assert frame.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    assert frame.headers["x-content-type-options"] == "nosniff"


def test_an_attachment_is_always_a_download(relay: Relay) -> None:
    content = b"<script>alert(1)</script>"
    encoded = base64.b64encode(content).decode()
    relay.send(attachments=[{"filename": 'año\r\n".html', "type": "text/html", "base64_content": encoded}])
    answer = relay.get(f"{mail_path(relay)}/attachments/0")
    assert answer.body == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%C3%B1o%0D%0A%22.html"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_states_are_named_in_spanish(relay: Relay) -> None:
    relay.send("ana+rebota@example.com")
    assert "En cola" in page(relay, "/")
    relay.shift_clock(100)
    assert "Rechazado" in page(relay, "/")


def test_mails_without_html_or_content_say_so(relay: Relay) -> None:
    relay.send_template(relay.draft, {"nombre": "Ana"})
    path = mail_path(relay)
    assert "El correo no tiene contenido." in page(relay, path)
    assert relay.get(f"{path}/html").status == 404
    relay.send(html=None, text="Hola\nAna")
    assert "<pre>Hola\nAna</pre>" in page(relay, mail_path(relay))


def test_a_mail_that_does_not_exist_is_not_found(relay: Relay) -> None:
    for path in ("/inbox/999999", "/inbox/x", "/inbox/-1", f"/inbox/{'9' * 30}", "/inbox/1/attachments/x"):
        assert relay.get(path).status == 404
