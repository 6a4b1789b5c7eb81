"""A STAC API on loopback over items held in memory: search by place, time, ids, properties and CQL2; sorted; page by page."""

from __future__ import annotations

import copy
import datetime as dt
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attr
from stac_fastapi.types.core import BaseCoreClient

OPERATORS = {
    "eq": lambda value, wanted: value == wanted,
    "neq": lambda value, wanted: value != wanted,
    "lt": lambda value, wanted: value is not None and value < wanted,
    "lte": lambda value, wanted: value is not None and value <= wanted,
    "gt": lambda value, wanted: value is not None and value > wanted,
    "gte": lambda value, wanted: value is not None and value >= wanted,
    "in": lambda value, wanted: value in wanted,
    "startsWith": lambda value, wanted: str(value).startswith(wanted),
    "endsWith": lambda value, wanted: str(value).endswith(wanted),
    "contains": lambda value, wanted: wanted in str(value),
}


def static_catalogue(file: str | Path, *, folder: str | Path, address: str) -> tuple[list[dict], list[dict]]:
    """Items and collections of a static catalogue, its files under `folder` named by their addresses on a range server."""
    import pystac

    root = pystac.Catalog.from_file(str(Path(file).resolve()))
    collections = [found.to_dict(include_self_link=False, transform_hrefs=False) for found in root.get_children()]
    items = []
    for item in root.get_items(recursive=True):
        item.make_asset_hrefs_absolute()
        content = item.to_dict(include_self_link=False, transform_hrefs=False)
        for asset in content["assets"].values():
            place = Path(asset["href"]).resolve().relative_to(Path(folder).resolve())
            asset["href"] = f"{address}/{quote(place.as_posix())}"
        items.append(content | {"links": [], "collection": item.collection_id or item.get_parent().id})
    return items, [collection | {"links": []} for collection in collections]


@attr.s
class InMemory(BaseCoreClient):
    """The client that stac-fastapi asks, over lists of items and collections as plain dictionaries."""

    items: list[dict] = attr.ib(factory=list)
    collections: list[dict] = attr.ib(factory=list)

    def post_search(self, search_request: Any, **named: Any) -> dict:
        asked = search_request.model_dump(mode="json", by_alias=True, exclude_none=True)
        return self._search(asked, named["request"], method="POST")

    def get_search(self, **named: Any) -> dict:
        request = named.pop("request")
        asked = {name: value for name, value in named.items() if value is not None}
        for name in ("query", "intersects"):
            if isinstance(asked.get(name), str):
                asked[name] = json.loads(asked[name])
        asked["filter"] = asked.pop("filter_expr", None)
        asked["filter-lang"] = asked.pop("filter_lang", "cql2-text")
        asked["sortby"] = [
            {"field": name.lstrip("+-"), "direction": "desc" if name.startswith("-") else "asc"}
            for name in asked.get("sortby") or ()
        ]
        fields = asked.get("fields") or ()
        asked["fields"] = {
            "include": [name.lstrip("+") for name in fields if not name.startswith("-")],
            "exclude": [name[1:] for name in fields if name.startswith("-")],
        }
        return self._search(asked, request, method="GET")

    def get_item(self, item_id: str, collection_id: str, **named: Any) -> dict:
        from stac_fastapi.types.errors import NotFoundError

        for item in self.items:
            if (item["id"], item["collection"]) == (item_id, collection_id):
                return copy.deepcopy(item)
        raise NotFoundError(f"no item {item_id} in {collection_id}")

    def all_collections(self, **named: Any) -> dict:
        return {"collections": copy.deepcopy(self.collections), "links": []}

    def get_collection(self, collection_id: str, **named: Any) -> dict:
        from stac_fastapi.types.errors import NotFoundError

        for collection in self.collections:
            if collection["id"] == collection_id:
                return copy.deepcopy(collection)
        raise NotFoundError(f"no collection {collection_id}")

    def item_collection(self, collection_id: str, **named: Any) -> dict:
        self.get_collection(collection_id)
        request = named.pop("request")
        asked = {name: value for name, value in named.items() if value is not None}
        return self._search(asked | {"collections": [collection_id]}, request, method="GET")

    def _search(self, asked: Mapping[str, Any], request: Any, *, method: str) -> dict:
        found = [item for item in self.items if _matches(item, asked)]
        for order in reversed(asked.get("sortby") or [{"field": "properties.datetime", "direction": "desc"}]):
            found.sort(key=partial(_orderable, name=order["field"]), reverse=order["direction"] == "desc")
        start, limit = int(asked.get("token") or 0), int(asked.get("limit") or 10)
        page = [_with_fields(copy.deepcopy(item), asked.get("fields") or {}) for item in found[start : start + limit]]
        links = []
        if start + limit < len(found):
            links.append(_next_link(asked, request, method, start + limit))
        return {
            "type": "FeatureCollection",
            "features": page,
            "links": links,
            "numberMatched": len(found),
            "numberReturned": len(page),
        }


def _next_link(asked: Mapping[str, Any], request: Any, method: str, token: int) -> dict:
    link = {"rel": "next", "type": "application/geo+json", "method": method}
    if method == "GET":
        return link | {"href": str(request.url.include_query_params(token=str(token)))}
    return link | {"href": str(request.url), "body": {**asked, "token": str(token)}, "merge": False}


def _matches(item: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    import cql2
    import shapely
    from shapely.geometry import shape

    if asked.get("collections") and item["collection"] not in asked["collections"]:
        return False
    if asked.get("ids") and item["id"] not in asked["ids"]:
        return False
    if asked.get("bbox") and not any(shape(item["geometry"]).intersects(box) for box in _boxes(asked["bbox"], shapely)):
        return False
    if asked.get("intersects") and not shape(item["geometry"]).intersects(shape(asked["intersects"])):
        return False
    if asked.get("datetime") and not _within(item, asked["datetime"]):
        return False
    for name, conditions in (asked.get("query") or {}).items():
        if not all(OPERATORS[operator](_field(item, name), wanted) for operator, wanted in conditions.items()):
            return False
    return not asked.get("filter") or cql2.Expr(asked["filter"]).matches(item)


def _boxes(box: Sequence[float], shapely: Any) -> list:
    half = len(box) // 2
    west, south, east, north = box[0], box[1], box[half], box[half + 1]
    if west <= east:
        return [shapely.box(west, south, east, north)]
    return [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]


def _within(item: Mapping[str, Any], asked: str) -> bool:
    first, _, last = asked.partition("/")
    last = last if "/" in asked else first
    properties = item["properties"]
    begin = properties.get("datetime") or properties["start_datetime"]
    end = properties.get("datetime") or properties["end_datetime"]
    return (last in ("", "..") or _moment(begin) <= _moment(last)) and (first in ("", "..") or _moment(end) >= _moment(first))


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _field(item: Mapping[str, Any], name: str) -> Any:
    if name in ("id", "collection"):
        return item[name]
    name = name.removeprefix("properties.")
    return item["properties"].get(name)


def _orderable(item: Mapping[str, Any], name: str) -> tuple:
    value = _field(item, name)
    return (value is None, str(type(value)), value if value is not None else 0)


def _with_fields(item: dict, fields: Mapping[str, Sequence[str]]) -> dict:
    include, exclude = set(fields.get("include") or ()), set(fields.get("exclude") or ())
    if include:
        kept = {name.partition(".")[0] for name in include} | {"id", "type", "collection", "links"}
        properties = {name.partition(".")[2] for name in include if name.startswith("properties.")}
        item = {name: value for name, value in item.items() if name in kept}
        if properties:
            item["properties"] = {name: value for name, value in item["properties"].items() if name in properties}
    for name in exclude:
        top, _, inner = name.partition(".")
        if inner:
            item.get(top, {}).pop(inner, None)
        else:
            item.pop(top, None)
    return item


def application(items: list[dict], collections: list[dict], *, extensions: Sequence[str] = ("query", "sort", "fields", "filter")):
    """The API as an ASGI application; an API that lacks an extension is made by naming fewer."""
    from stac_fastapi.api.app import StacApi
    from stac_fastapi.api.models import create_get_request_model, create_post_request_model
    from stac_fastapi.extensions import (
        FieldsExtension,
        QueryExtension,
        SearchFilterExtension,
        SortExtension,
        TokenPaginationExtension,
    )
    from stac_fastapi.types.config import ApiSettings

    def sort() -> SortExtension:
        return SortExtension(conformance_classes=["https://api.stacspec.org/v1.0.0/item-search#sort"])

    known = {"query": QueryExtension, "sort": sort, "fields": FieldsExtension, "filter": SearchFilterExtension}
    chosen = [*(known[name]() for name in extensions), TokenPaginationExtension()]
    return StacApi(
        settings=ApiSettings(stac_fastapi_title="planted", stac_fastapi_description="items held in memory"),
        client=InMemory(items=items, collections=collections, extensions=chosen),
        extensions=chosen,
        search_get_request_model=create_get_request_model(chosen),
        search_post_request_model=create_post_request_model(chosen),
    ).app


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an application that runs on a free port of 127.0.0.1 while the body does."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    ends = time.monotonic() + 20
    while not server.started and time.monotonic() < ends:
        time.sleep(0.02)
    if not server.started:
        raise RuntimeError("the STAC API did not start")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
