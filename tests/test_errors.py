from sipbridge import errors


def subclasses(cls: type[errors.SipBridgeError]) -> set[type[errors.SipBridgeError]]:
    found = {cls}
    for child in cls.__subclasses__():
        found |= subclasses(child)
    return found


def test_every_class_stands_in_the_drawing() -> None:
    drawn = errors.__doc__ or ""
    for cls in subclasses(errors.SipBridgeError):
        if cls.__module__ == errors.__name__:
            assert cls.__name__ in drawn


def test_codes_are_told_apart() -> None:
    codes = [c.code for c in subclasses(errors.SipBridgeError) if c.__module__ == errors.__name__]
    assert len(set(codes)) == len(codes)


def test_a_fault_says_where() -> None:
    assert str(errors.ConfigurationError("http.port", "1 to 65535")) == "http.port: 1 to 65535"
    refused = errors.DocumentError("no root", path="presence", line=3)
    assert str(refused) == "no root (presence, line 3)"
    assert str(errors.ParseError("too long", field="Via")) == "Via: too long"
