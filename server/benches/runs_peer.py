"""The graph of `runs.rs` on LangGraph with its Postgres checkpointer: plan, call, answer, each step
durable before the next (`durability="sync"`). Prints one JSON object.

    python runs_peer.py URL RUNS
"""

import json
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

WORKERS = 8


class State(TypedDict, total=False):
    request: str
    plan: dict
    result: dict
    answer: str


def plan(_):
    arguments = {"principal": "200000", "annual_rate_pct": 6.0, "months": 360}
    return {"plan": {"calls": [{"tool": "loan_schedule", "arguments": arguments}]}}


def call(_):
    return {"result": {"payment": "1199.10", "total_interest": "231676.38", "method": "annuity"}}


def answer(_):
    return {"answer": "The payment is 1,199.10 a month."}


def main():
    url = urllib.parse.urlparse(sys.argv[1])
    runs = int(sys.argv[2])
    host = urllib.parse.unquote(url.netloc.split("@")[1])
    conninfo = f"host={host} user={url.username} dbname={url.path.strip('/')}"
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    graph = StateGraph(State)
    for name, node in (("plan", plan), ("call", call), ("answer", answer)):
        graph.add_node(f"do_{name}", node)
    graph.add_edge(START, "do_plan")
    graph.add_edge("do_plan", "do_call")
    graph.add_edge("do_call", "do_answer")
    graph.add_edge("do_answer", END)
    with ConnectionPool(conninfo, min_size=WORKERS, max_size=WORKERS, kwargs=options) as pool:
        saver = PostgresSaver(pool)
        saver.setup()
        app = graph.compile(checkpointer=saver)
        request = {"request": "What is the payment on 200,000 at 6% over 360 months?"}

        def one(thread):
            begun = time.perf_counter()
            app.invoke(request, {"configurable": {"thread_id": thread}}, durability="sync")
            return (time.perf_counter() - begun) * 1e3

        alone = sorted(one(f"alone-{n}") for n in range(min(100, runs)))
        begun = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(lambda n: one(f"many-{n}"), range(runs)))
        took = time.perf_counter() - begun
        tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
        with pool.connection() as connection:
            size = connection.execute(
                "select sum(pg_total_relation_size(name::regclass))::bigint as size"
                " from unnest(%s::text[]) name",
                (list(tables),),
            ).fetchone()["size"]
    print(json.dumps({
        "run_ms_p50": round(alone[len(alone) // 2], 2),
        "runs_per_s": round(runs / took, 1),
        "bytes_a_run": size // (runs + len(alone)),
    }))


main()
