"""Lists of FastAPI over SQLAlchemy: `DATABASE=tricks.sqlite uvicorn fastapi_sqlalchemy:app`."""

import json
import os
from collections.abc import AsyncIterator, Iterator

from fastapi import FastAPI
from sqlalchemy import ForeignKey, Select, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from chunkflow import Change, Comparison, Fetch, Flow, Follows, Related, Source
from chunkflow.starlette import ListResponse

DATABASE = os.environ["DATABASE"]
engine = create_engine(f"sqlite:///{DATABASE}")
async_engine = create_async_engine(f"sqlite+aiosqlite:///{DATABASE}")
flow = Flow(os.environ.get("CHUNKFLOW_STORE", "memory:"))
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Trick(Base):
    __tablename__ = "trick"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author] = relationship()

    def shown(self) -> str:
        return json.dumps({"id": self.id, "title": self.title, "author": self.author.name})


def query(fetch: Fetch) -> Select[tuple[Trick]]:
    tricks = select(Trick).options(selectinload(Trick.author)).order_by(Trick.id)
    if fetch.after:
        tricks = tricks.where(Trick.id > fetch.after[0])
    for condition in fetch.conditions:
        match condition:
            case Comparison("id", "eq" | "in", values):
                tricks = tricks.where(Trick.id.in_([int(value) for value in values]))
            case _:
                raise NotImplementedError(condition)
    return tricks.limit(fetch.limit)


def rows(fetch: Fetch) -> Iterator[tuple[tuple[int], str, list[tuple[int, tuple[int]]]]]:
    """In a thread of the flow's pool."""
    with Session(engine) as session:
        for trick in session.scalars(query(fetch)):
            # A change of the author touches the chunks that show it.
            yield (trick.id,), trick.shown(), [(0, (trick.author_id,))]


async def async_rows(fetch: Fetch) -> AsyncIterator[tuple[tuple[int], str]]:
    """On the loop of the request."""
    async with AsyncSession(async_engine) as session:
        for trick in await session.scalars(query(fetch)):
            yield (trick.id,), trick.shown()


FOLLOWS = Follows("trick", ["id"], related=[Related("author", ["id"])])


@app.get("/tricks")
def tricks() -> ListResponse:
    return ListResponse(flow, Source("tricks", b"1", rows, order=["id"], follows=FOLLOWS))


@app.get("/async/tricks")
async def async_tricks() -> ListResponse:
    return ListResponse(flow, Source("tricks", b"async 1", async_rows, order=["id"]))


@app.put("/authors/{author_id}")
async def rename(author_id: int, name: str) -> dict[str, str]:
    async with AsyncSession(async_engine) as session:
        author = await session.get_one(Author, author_id)
        author.name = name
        await session.commit()
    # Behind the commit: what is read now shows it.
    return {"token": await flow.changed([Change("author", [str(author_id)])])}
