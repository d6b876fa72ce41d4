"""The description of the routes as a plain page, which needs no script and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any


def listing(schema: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI description."""
    routes = "\n".join(
        _route(f"{method.upper()} {path}", about, schema)
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>resight: routes</title></head>\n<body>\n'
        "<h1>Routes</h1>\n<p>Forms are multipart/form-data; a name may be repeated where it says so. Errors are "
        '{"detail": "one line"}. The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>\n'
        f"{routes}\n</body></html>\n"
    )


def _route(name: str, about: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"<tr><th>{escape(field)}</th><td>{escape(kind)}</td><td>{escape(said)}</td></tr>"
        for field, kind, said in _fields(about, schema)
    )
    table = f"<table>\n{rows}\n</table>" if rows else ""
    return f"<h2><code>{escape(name)}</code></h2>\n<p>{escape(about['description'])}</p>\n{table}"


def _fields(about: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, kind, description) of a route's parameters and of its body's fields."""
    for parameter in about.get("parameters", ()):
        yield parameter["name"], _kind(parameter["schema"]), "part of the path"
    for content in about.get("requestBody", {}).get("content", {}).values():
        body = content["schema"]
        for reference in (body, *body.get("allOf", ())):
            if "$ref" in reference:
                body = schema["components"]["schemas"][reference["$ref"].rsplit("/", 1)[1]]
        for name, field in body["properties"].items():
            needed = " (needed)" if name in body.get("required", ()) else ""
            yield name, _kind(field) + needed, field.get("description", "")


def _kind(field: Mapping[str, Any]) -> str:
    """As "integer, 1 to 200", or "file, may be repeated"."""
    if field.get("type") == "array":
        return f"{_kind(field['items'])}, may be repeated"
    one = next((kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"), field)
    is_file = one.get("format") == "binary" or "contentMediaType" in one
    limits = f", {one['minimum']:g} to {one['maximum']:g}" if "minimum" in one and "maximum" in one else ""
    return f"{'file' if is_file else one.get('type', 'text')}{limits}"
