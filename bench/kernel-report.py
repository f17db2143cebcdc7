#!/usr/bin/env python3
"""The table of bench/kernel: kernel-report.py [--publish] RESULTS.jsonl

Publishing writes between the kernel table's marks in docs/benchmarks.md; what else stands there stays."""

import json
import os
import statistics
import sys

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "benchmarks.md")
BEGIN, END = "<!-- kernel table: begin -->", "<!-- kernel table: end -->"
WAYS = ("hometun", "ip")
NAMES = {"hometun": "hometun", "ip": "ip(8)"}


def homes_table(records):
    """Set-up, moves and memory, hometun and ip -batch in turn."""
    lines = [
        "| homes | made by | set up, ms a home | homes/s | a move, ms | memory a home, KiB | of it slab |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for record in records:
        set_up, move = record["setUpMs"], record["moveMs"]
        # Of few homes the start of ip(8) weighs more than what it does.
        move = f"{move:.2f}" if move > 0 else "–"
        lines.append(
            f"| {record['homes']:,} | {NAMES[record['how']]} | {set_up:.1f} | {1000 / set_up:,.0f} "
            f"| {move} | {record['availableKib']:,.0f} | {record['slabKib']:,.0f} |"
        )
    return lines


def forwarding_table(records):
    """Medians, lowest and highest of the rounds."""
    lines = [
        "| load | made by | rounds | Mbit/s | packets/s | CPU of a packet, µs (lowest – highest) |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for load in ("tcp", "udp"):
        for how in WAYS:
            some = [r for r in records if (r["load"], r["how"]) == (load, how)]
            if not some:
                continue
            cpu = [r["cpuUs"] for r in some]
            lines.append(
                f"| {load.upper()} | {NAMES[how]} | {len(some)} "
                f"| {statistics.median(r['mbitPerSecond'] for r in some):.1f} "
                f"| {statistics.median(r['packets'] / r.get('seconds', 3) for r in some):,.0f} "
                f"| {statistics.median(cpu):.0f} ({min(cpu):.0f} – {max(cpu):.0f}) |"
            )
    return lines


def sizes(homes):
    return [str(record["homes"]) for record in homes if record["how"] == "ip"]


def where(start):
    return ", emulated by QEMU" if start.get("emulated") else ""


def table(records):
    start = next(r for r in records if r["test"] == "start")
    homes = [r for r in records if r["test"] == "homes"]
    forwarding = [r for r in records if r["test"] == "forwarding"]
    return "\n".join(
        [
            f"- command: `npm run bench:kernel -- --publish {' '.join(sizes(homes))}`",
            f"- kernel: Linux {start['kernel']}, {start['processors']} processors{where(start)}",
            "- figures: of one run; forwarding: medians of its rounds",
            "",
            *homes_table(homes),
            "",
            *(forwarding_table(forwarding) if forwarding else ["Forwarding: not measured."]),
        ]
    )


def publish(text):
    with open(DOCUMENT, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    after = rest.partition(END)[2]
    temporary = DOCUMENT + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    os.replace(temporary, DOCUMENT)


def main(arguments):
    *options, path = arguments
    with open(path, encoding="utf-8") as file:
        # The guest's console may say something of its own in between.
        records = [json.loads(line) for line in file if line.startswith("{")]
    text = table(records)
    print(text)
    if "--publish" in options:
        publish(text)


main(sys.argv[1:])
