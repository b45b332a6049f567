#!/usr/bin/env python3
"""An independent implementation of retention: what the tests compare the one in bk with.

  retention.py < cases.json > results.json
  retention.py --selftest       cases computed by hand, and properties of random lives of a group

It shares no code with bk, and is written to be read next to the rules, not to be fast. The rules in short, for one
group (the snapshots of one host and one profile); the order is by (start, id), "newest" is the last one in it:

 1 Future-dated (start > now + 5 min, or > stored + 1 h): kept as `future`, without part in anything below.
 2 Without a complete snapshot the group is held: nothing is dropped (`only-future` if one is future-dated, else `no-complete`).
 3 Each snapshot knows the start of the newest complete one that, when it was made, was there and did not start after it:
   `previous`. How long after it one was made is its distance, unknown without a `previous` that is before it. A complete
   one follows a break if its distance is longer than 2 days, and than 4 times the rhythm before it: the smaller one of
   the two newest known distances before its own (the only one; none, if there is none). A break is settled when the
   complete ones from the one that follows it to the last one before the next break span 48 hours or more; or when those
   up to the newest one are 10 or more, and span 48 hours or more; or when a newer break is settled. The steering time
   `reference` is the earliest `previous` of those whose break is not settled; without one, the start of the newest
   complete one.
 4 If the newest complete snapshot is older than max_age, the group is held, unless even_if_overdue.
 5 Reasons to keep, in the order in which they are listed:
     pinned          for ever, or until a time after reference
     tag T           has a tag that is to be kept
     newest          incomplete, and newer than the newest complete one
     verified        the newest complete one that was verified
     last K of N     the newest N complete ones
     PERIOD K of N   the newest complete one of each of the newest N periods that have one
     oldest PERIOD   there are fewer than N such periods: the oldest complete one
     within          start >= reference - span, complete or not
     within-PERIOD   the newest complete one of each period, from reference - span on
     RULE incomplete beside what a rule keeps: for `last` what is newer than the N-th, for periods the newest of a
                     period without any complete one, as far back as the rule reaches; it never counts
     gap             it follows a break, or is one of the newest complete ones before it, as many as the floor, or one
                     whose distance is the rhythm or was compared for it; until the break is settled and the newest
                     complete one starts 30 days after the one that follows
     floor           the newest complete ones, at least one, that have no other reason
 6 What has no reason is dropped; in a held group it is kept as `held`.

exit: 0 good; 1 the input is not what it must be, or a selftest fails; 2 usage, or no time zone data on this machine
"""
import calendar, json, re, sys
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from random import Random
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ALL = 2**32 - 1  # the count that is written "all"
PERIODS = ["hourly", "daily", "weekly", "monthly", "yearly"]
COUNT_RULES = ["last"] + PERIODS
SPAN_RULES = ["within"] + ["within-" + period for period in PERIODS]
LONGEST_PAUSE = timedelta(days=2)  # what is longer can be a break
SETTLED_AFTER, ENOUGH_TO_SETTLE = timedelta(hours=48), 10
KEPT_AFTER_BREAK = timedelta(days=30)
EARLIEST = datetime.min.replace(tzinfo=timezone.utc)

# Every time in a Snapshot is in UTC, where differences are exact; `period` maps the name of a period to the one it is in.
Snapshot = namedtuple("Snapshot", "id start complete tags pin verified stored previous period")
# `follower` and `measured_by` (a list) are places in the complete snapshots, newest first.
Break = namedtuple("Break", "follower measured_by settled")

class Wrong(Exception):
    """The input is not what it must be."""
def need(ok, message):
    if not ok: raise Wrong(message)

# ---------------------------------------------------------------- time
def instant(text):
    time = datetime.fromisoformat(text)
    need(time.tzinfo is not None and time.microsecond == 0, f"{text}: needs an offset and whole seconds")
    return time.astimezone(timezone.utc)

def periods_of(start, zone):
    local = start.astimezone(zone)
    week = local.date().isocalendar()
    return {
        # The offset tells the two hours apart that have one name when the clock is put back.
        "hourly": (local.date(), local.hour, local.utcoffset()),
        "daily": local.date(),
        "weekly": (week.year, week.week),
        "monthly": (local.year, local.month),
        "yearly": local.year,
    }

def parse_span(text):
    need(re.fullmatch(r"(\d+(y|mo|w|d|h))+", text, re.ASCII), f"{text!r} is not a span")
    span = dict.fromkeys(["y", "mo", "w", "d", "h"], 0)
    for count, unit in re.findall(r"(\d+)(y|mo|w|d|h)", text):
        span[unit] += int(count)
    need(any(span.values()), f"{text!r}: a span of zero")
    return span

def subtract(reference, span, zone):
    """reference - span: years and months, then weeks and days by the calendar of the zone, then hours as exact time."""
    try:
        hours = timedelta(hours=span["h"])
        # The detour by the calendar would take a reference in the second of two repeated hours for one in the first.
        if not any(span[unit] for unit in ("y", "mo", "w", "d")): return reference - hours
        local = reference.astimezone(zone).replace(tzinfo=None, fold=0)
        year, month0 = divmod(12 * local.year + local.month - 1 - 12 * span["y"] - span["mo"], 12)
        if year < 1: return EARLIEST
        local = local.replace(year=year, month=month0 + 1, day=min(local.day, calendar.monthrange(year, month0 + 1)[1]))
        local -= timedelta(weeks=span["w"], days=span["d"])
        # fold=0 is what the rules want: a repeated time is the first; one that was skipped takes the offset from
        # before the skip, and so moves forward by the skip's length.
        return local.replace(tzinfo=zone, fold=0).astimezone(timezone.utc) - hours
    except OverflowError:  # before the year 1
        return EARLIEST

# ---------------------------------------------------------------- input
def read_snapshots(entries, zone):
    """The snapshots, oldest first."""
    def optional(text):
        return None if text is None else instant(text)

    snapshots = []
    for entry in entries:
        start, pin = instant(entry["start"]), entry.get("pin")
        snapshots.append(Snapshot(
            entry["id"], start, entry["complete"], entry.get("tags") or [], pin if pin == "forever" else optional(pin),
            entry.get("verified", False), optional(entry.get("stored")), optional(entry.get("previous")), periods_of(start, zone)))
    need(len({s.id for s in snapshots}) == len(snapshots), "two snapshots have one id")
    return sorted(snapshots, key=place)

def place(snapshot):
    """Where it stands in the order."""
    return (snapshot.start, snapshot.id.encode())

def read_keep(keep):
    """The rules that are given: counts as numbers, spans taken apart."""
    keep = {rule: value for rule, value in keep.items() if value not in (None, [])}
    need(keep, "no rule is given")
    for rule, value in keep.items():
        if rule in COUNT_RULES:
            keep[rule] = ALL if value == "all" else value
            need(type(keep[rule]) is int and 1 <= keep[rule] <= ALL, f"{rule}: {value!r} is not a count")
        elif rule in SPAN_RULES:
            keep[rule] = parse_span(value)
        else:
            need(rule == "tags", f"{rule}: no such rule")
    return keep

# ---------------------------------------------------------------- the rules
def is_future(snapshot, now):
    return (snapshot.start > now + timedelta(minutes=5)
            or snapshot.stored is not None and snapshot.start > snapshot.stored + timedelta(hours=1))

def distance(snapshot):
    """How long after the complete one before it, if that is known."""
    known = snapshot.previous is not None and snapshot.previous < snapshot.start
    return snapshot.start - snapshot.previous if known else None

def find_breaks(complete):
    """The breaks, newest first, as `complete` is."""
    known = [i for i, s in enumerate(complete) if distance(s) is not None]
    breaks, settled, end_of_stretch = [], False, 0
    for number, i in enumerate(known):
        measured_by = known[number + 1:number + 3]
        rhythm = min((distance(complete[older]) for older in measured_by), default=timedelta(0))
        if distance(complete[i]) <= max(LONGEST_PAUSE, 4 * rhythm): continue
        stretch, until_now = (complete[newest].start - complete[i].start for newest in (end_of_stretch, 0))
        enough = i + 1 >= ENOUGH_TO_SETTLE and until_now >= SETTLED_AFTER
        settled = settled or enough or stretch >= SETTLED_AFTER
        breaks.append(Break(i, measured_by, settled))
        end_of_stretch = i + 1
    return breaks

def steering_time(complete, breaks):
    """`complete` is newest first, and not empty."""
    return min((complete[b.follower].previous for b in breaks if not b.settled), default=complete[0].start)

def newest_of_each_period(snapshots, period):
    """`snapshots` is newest first. A period can come back (a clock put back over midnight): all seen ones count."""
    seen, newest = set(), []
    for s in snapshots:
        if s.period[period] not in seen:
            seen.add(s.period[period])
            newest.append(s)
    return newest

def judge(case):
    now, zone, keep = instant(case["now"]), read_zone(case["zone"]), read_keep(case["keep"])
    oldest_first = read_snapshots(case["snapshots"], zone)
    reasons = {s.id: [] for s in oldest_first}

    for s in oldest_first:
        if is_future(s, now): reasons[s.id].append("future")
    counted = [s for s in reversed(oldest_first) if not is_future(s, now)]
    complete = [s for s in counted if s.complete]
    incomplete = [s for s in counted if not s.complete]

    held = None
    max_age = case.get("max_age")
    if not complete:
        held = "only-future" if any(s.complete for s in oldest_first) else "no-complete"
    elif max_age is not None and not case.get("even_if_overdue", False):
        if now - complete[0].start > timedelta(seconds=max_age): held = "overdue"

    floor = max(case.get("floor", 3), 1)
    breaks = find_breaks(complete)
    reference = steering_time(complete, breaks) if complete else None
    add_marks(reasons, counted, complete, incomplete, reference, keep.get("tags", []))
    if complete:
        add_counts(reasons, complete, incomplete, keep)
        add_spans(reasons, complete, incomplete, keep, reference, zone)
        add_breaks(reasons, complete, breaks, floor)
        for s in complete[:floor]:
            if not reasons[s.id]: reasons[s.id].append("floor")

    if held:
        for s in counted:
            if not reasons[s.id]: reasons[s.id].append("held")
    return {
        "held": held,
        "kept": {s.id: reasons[s.id] for s in oldest_first if reasons[s.id]},
        "dropped": [s.id for s in oldest_first if not reasons[s.id]],
    }

def add_marks(reasons, counted, complete, incomplete, reference, tags):
    """What stands on single snapshots. `reference` is None without a complete one: then every pin counts."""
    for s in counted:
        if s.pin is not None and (s.pin == "forever" or reference is None or reference < s.pin):
            reasons[s.id].append("pinned")
        for tag in dict.fromkeys(tags):
            if tag in s.tags: reasons[s.id].append(f"tag {tag}")
    for s in incomplete:
        if not complete or place(s) > place(complete[0]): reasons[s.id].append("newest")
    for s in [s for s in complete if s.verified][:1]:
        reasons[s.id].append("verified")

def add_counts(reasons, complete, incomplete, keep):
    def number(rule, k):
        return f"{rule} {k} of {'all' if keep[rule] == ALL else keep[rule]}"

    if "last" in keep:
        n = keep["last"]
        for k, s in enumerate(complete[:n], 1):
            reasons[s.id].append(number("last", k))
        for s in incomplete:
            if len(complete) < n or place(s) > place(complete[n - 1]): reasons[s.id].append("last incomplete")

    for rule in PERIODS:
        if rule not in keep: continue
        n = keep[rule]
        of_periods = newest_of_each_period(complete, rule)
        kept = of_periods[:n]
        for k, s in enumerate(kept, 1):
            reasons[s.id].append(number(rule, k))
        if len(of_periods) < n and complete[-1] not in kept:
            reasons[complete[-1].id].append(f"oldest {rule}")
        for s in in_periods_without(complete, incomplete, rule):
            if len(of_periods) < n or s.start >= kept[-1].start: reasons[s.id].append(f"{rule} incomplete")

def add_spans(reasons, complete, incomplete, keep, reference, zone):
    if "within" in keep:
        since = subtract(reference, keep["within"], zone)
        for s in complete + incomplete:
            if s.start >= since: reasons[s.id].append("within")

    for period in PERIODS:
        rule = "within-" + period
        if rule not in keep: continue
        since = subtract(reference, keep[rule], zone)
        for s in newest_of_each_period([s for s in complete if s.start >= since], period):
            reasons[s.id].append(rule)
        for s in in_periods_without(complete, incomplete, period):
            if s.start >= since: reasons[s.id].append(f"{rule} incomplete")

def add_breaks(reasons, complete, breaks, floor):
    beside = set()
    for b in breaks:
        if b.settled and complete[0].start - complete[b.follower].start >= KEPT_AFTER_BREAK: continue
        beside.update(range(b.follower, min(b.follower + 1 + floor, len(complete))), b.measured_by)
    for i in beside: reasons[complete[i].id].append("gap")

def in_periods_without(complete, incomplete, period):
    """The newest incomplete one of each period in which no snapshot at all is complete."""
    taken = {s.period[period] for s in complete}
    return [s for s in newest_of_each_period(incomplete, period) if s.period[period] not in taken]

# ---------------------------------------------------------------- selftest
def selftest():
    def snapshot(id, start, **other):
        return {"id": id, "start": start if "T" in start else start + "T12:00:00Z", "complete": True, **other}

    def half(id, start, **other):
        return snapshot(id, start, complete=False, **other)

    def check(what, keep, snapshots, kept, held=None, zone="UTC", floor=1, now="2100-01-01T00:00:00Z", **other):
        """`kept` is all that is kept; what it does not name must be dropped."""
        case = {"now": now, "zone": zone, "keep": keep, "floor": floor, "snapshots": snapshots, **other}
        expected = {"held": held, "kept": kept, "dropped": sorted(s["id"] for s in snapshots if s["id"] not in kept)}
        for order in (snapshots, snapshots[::-1]):
            result = judge({**case, "snapshots": order})
            result["dropped"].sort()
            assert result == expected, f"{what}:\n  expected {expected}\n  found    {result}"

    def chain(*snapshots):
        """A history of which nothing was dropped before its end: each gets its `previous`, if it has none yet."""
        return [{"previous": previous_of(s["start"], snapshots[:number]), **s} for number, s in enumerate(snapshots)]

    def check_gap(what, keep, snapshots, ids):
        """Just these are kept as `gap`."""
        kept = judge({"now": "2100-01-01T00:00:00Z", "zone": "UTC", "keep": keep, "floor": 1, "snapshots": snapshots})["kept"]
        found = {id for id in kept if "gap" in kept[id]}
        assert found == set(ids), f"{what}: expected {set(ids)}, found {found}"

    def check_since(what, reference, span, first, zone="Europe/Berlin"):
        """The window begins at `first`: a snapshot then is in it, one a second before is not."""
        before = (instant(first) - timedelta(seconds=1)).isoformat()
        check(what, {"within": span},
              # The one complete one steers; the two that matter are incomplete.
              [snapshot("r", reference), half("in", first), half("out", before)], {"r": ["within"], "in": ["within"]}, zone=zone)

    # Clocks in Berlin were put back at 2026-10-25T01:00Z: 00:30Z and 01:30Z are both 02:30 there. "a" is 01:30.
    repeated = [snapshot("a", "2026-10-24T23:30:00Z"), snapshot("b", "2026-10-25T00:10:00Z"),
                snapshot("c", "2026-10-25T00:30:00Z"), snapshot("d", "2026-10-25T01:30:00Z")]
    check("a repeated hour is two hours", {"hourly": 3}, repeated,
          {"d": ["hourly 1 of 3"], "c": ["hourly 2 of 3"], "a": ["hourly 3 of 3"]}, zone="Europe/Berlin")
    check("a local day", {"daily": 1}, repeated, {"d": ["daily 1 of 1"]}, zone="Europe/Berlin")
    check("a day of UTC", {"daily": 2}, repeated, {"d": ["daily 1 of 2"], "a": ["daily 2 of 2"]})
    # St John's put its clocks back at 00:01: 02:00Z is 23:30 on the 28th, "b" is on the 29th, "c" on the 28th again.
    check("a day that comes back", {"daily": "all"},
          [snapshot("a", "2006-10-29T02:00:00Z"), snapshot("b", "2006-10-29T02:30:30Z"),
           snapshot("c", "2006-10-29T03:00:00Z"), snapshot("d", "2006-10-29T03:30:00Z")],
          {"d": ["daily 1 of all"], "c": ["daily 2 of all"], "a": ["oldest daily"]}, zone="America/St_Johns")

    check_since("a day of 25 hours", "2026-10-25T01:30:00Z", "1d", "2026-10-24T00:30:00Z")
    check_since("a repeated time is the first", "2026-10-26T01:30:00Z", "1d", "2026-10-25T00:30:00Z")
    # Clocks were put forward at 2026-03-29T01:00Z; 02:30 did not exist and becomes 03:30, which is 01:30Z.
    check_since("a skipped time moves forward", "2026-03-30T00:30:00Z", "1d", "2026-03-29T01:30:00Z")
    check_since("hours are exact, and last", "2026-03-30T00:30:00Z", "1d2h", "2026-03-28T23:30:00Z")
    check_since("24 hours are not a day", "2026-03-30T00:30:00Z", "24h", "2026-03-29T00:30:00Z")
    # 01:30Z is the second 02:30 of that night.
    check_since("hours alone know of no repeated hour", "2026-10-25T01:30:00Z", "1h", "2026-10-25T00:30:00Z")
    check_since("hours alone into a repeated hour", "2026-10-25T02:30:00Z", "1h", "2026-10-25T01:30:00Z")
    check_since("hours after a day do", "2026-10-25T01:30:00Z", "1d1h", "2026-10-23T23:30:00Z")
    check_since("a year before a leap day", "2024-02-29T12:00:00Z", "1y", "2023-02-28T12:00:00Z")
    check_since("four years before a leap day", "2024-02-29T12:00:00Z", "4y", "2020-02-29T12:00:00Z")
    # The months first: 02-29, then a day. The day first would be 03-30, then 02-29.
    check_since("months before days", "2024-03-31T12:00:00Z", "1mo1d", "2024-02-28T13:00:00Z")
    check_since("years, months and weeks", "2026-03-15T12:00:00Z", "2y6mo1w", "2023-09-08T11:00:00Z")
    check_since("back over the year", "2026-01-31T12:00:00Z", "2mo", "2025-11-30T12:00:00Z", zone="UTC")

    # 2020 had 53 weeks, to Sunday 2021-01-03; 2024-12-30 was the Monday of the first week of 2025.
    check("weeks at New Year", {"weekly": 4},
          [snapshot("a", "2020-12-28"), snapshot("b", "2021-01-03"), snapshot("c", "2021-01-04"),
           snapshot("d", "2024-12-29"), snapshot("e", "2024-12-30"), snapshot("f", "2025-01-05")],
          {"f": ["weekly 1 of 4"], "d": ["weekly 2 of 4"], "c": ["weekly 3 of 4"], "b": ["weekly 4 of 4"]})
    check("a leap day has a month and a year", {"monthly": 2, "yearly": 9},
          [snapshot("a", "2023-12-01"), snapshot("b", "2023-12-31"), snapshot("c", "2024-02-28"), snapshot("d", "2024-02-29")],
          {"d": ["monthly 1 of 2", "yearly 1 of 9"], "b": ["monthly 2 of 2", "yearly 2 of 9"], "a": ["oldest yearly"]})
    check("the id decides about one start", {"last": 1}, [snapshot("a", "2026-01-01"), snapshot("b", "2026-01-01")],
          {"b": ["last 1 of 1"]})
    check("one within each day", {"within-daily": "2d"},
          [snapshot("a", "2026-01-01"), snapshot("b", "2026-01-02T12:00:00Z"), snapshot("c", "2026-01-02T13:00:00Z"),
           snapshot("d", "2026-01-04")], {"c": ["within-daily"], "d": ["within-daily"]})

    for span in ("2027y", "99999y", "999999999mo", "99999999999d", "99999999999999h"):
        check(f"{span} ago nothing was", {"within": span}, [snapshot("a", "0001-01-03"), snapshot("b", "0001-01-04")],
              {"a": ["within"], "b": ["within"]})
    check("the greatest count is all", {"last": 4294967295}, [snapshot("a", "2026-01-01")], {"a": ["last 1 of all"]})

    for span in ("0d", "00h", "0y0mo0w0d0h"):
        try:
            parse_span(span)
        except Wrong: continue
        assert False, f"{span} is taken for a span"
    check_since("a zero is no span, but can be a part of one", "2026-01-31T12:00:00Z", "0y1d", "2026-01-30T12:00:00Z")

    # Breaks. In June a run a day, or three within two hours; what follows comes in autumn.
    a, b, c = june = chain(snapshot("a", "2026-06-01"), snapshot("b", "2026-06-02"), snapshot("c", "2026-06-03"))
    x = snapshot("x", "2026-09-01")
    hours = [snapshot(f"h{hour}", f"2026-06-01T{hour}:00:00Z") for hour in (10, 11, 12)]
    day, month, last = {"within": "1d"}, {"within": "30d"}, {"last": 1}
    within, gap, both = ["within"], ["gap"], ["within", "gap"]
    check("a window of days begins with its first second", {"within-daily": "1d"}, june, {i: ["within-daily"] for i in "bc"})

    # A window of a day before 06-03T12 begins with b.
    check("the first after a break does not steer", day, chain(*june, x), {i: both for i in "bcx"})
    check("47:59:59 after a break nothing does", day, chain(*june, x, snapshot("y", "2026-09-03T11:59:59Z")),
          {**{i: both for i in "bcx"}, "y": within})
    check("48 hours after a break the newest does", day, chain(*june, x, snapshot("y", "2026-09-03")),
          {**{i: gap for i in "bcx"}, "y": within})
    # Two runs at once can be so. Steered from the oldest break, a would be out of the window.
    check("of the breaks that have not settled the earliest `previous` steers", day,
          june + [snapshot("x", "2026-09-01", previous=c["start"]), snapshot("y", "2026-09-02", previous="2025-06-01T12:00:00Z")],
          {"a": within, **{i: both for i in "bcxy"}})

    # A single run, x, between two absences. 30 days before 06-03 is 05-04, before 12-03 it is 11-03.
    y = snapshot("y", "2026-12-01")
    check("a single run between two absences settles nothing", month, chain(*june, x, y), {"a": within, **{i: both for i in "bcxy"}})
    check("nor does one within 48 hours", month, chain(*june, x, y, snapshot("z", "2026-12-03T11:59:59Z")),
          {"a": within, **{i: both for i in "bcxy"}, "z": within})
    check("what settles the second absence settles the first", month, chain(*june, x, y, snapshot("z", "2026-12-03")),
          {"c": gap, "x": gap, "y": both, "z": within})
    # Two runs, x and w. The second absence is measured by both of them, as 2 days are less than 90.
    check("47:59:59 between two absences settle nothing", month, chain(*june, x, snapshot("w", "2026-09-03T11:59:59Z"), y),
          {"a": within, **{i: both for i in "bcxwy"}})
    check("48 hours between two absences settle the first", month, chain(*june, x, snapshot("w", "2026-09-03"), y),
          {i: both for i in "xwy"})

    # Half a year away. 30 days before 06-03 is 05-04.
    p, q = chain(snapshot("p", "2026-05-03"), snapshot("q", "2026-05-04"))
    away = chain(p, q, {**a, "previous": q["start"]}, b, c,
                 *(snapshot(str(i), f"2026-12-03T1{i}:00:00Z") for i in (1, 2, 3)))
    nothing_lost = {"q": within, **{i: both for i in "abc1"}, "2": within, "3": within}
    check("three runs within two hours lose nothing", month, away, nothing_lost, floor=3)
    fourth = {"previous": "2026-12-03T13:00:00Z"}
    check("nor does a fourth before 48 hours", month, away + [snapshot("4", "2026-12-05T10:59:59Z", **fourth)],
          {**nothing_lost, "4": within}, floor=3)
    check("after 48 hours the window moves", month, away + [snapshot("4", "2026-12-05T11:00:00Z", **fourth)],
          {**{i: gap for i in "abc"}, "1": both, **{i: within for i in "234"}}, floor=3)

    # Two runs an hour apart, every ten days. With 11 of them 9 are there from the first break on, with 12 there are 10.
    pairs = chain(*(snapshot(f"{date}-{hour}", f"2026-{date}T{hour}:00:00Z")
                    for date in ("06-01", "06-11", "06-21", "07-01", "07-11", "07-21") for hour in (12, 13)))
    ids = [s["id"] for s in pairs]
    check("nine runs in pairs do not settle", day, pairs[:11], {ids[0]: within, **{i: both for i in ids[1:11]}})
    check("ten runs in pairs do at last", day, pairs, {**{i: both for i in ids[2:11]}, ids[11]: within})
    # Every hour, the last one a second early or not; a window of 30 days before 09-03 has nothing of June.
    often = chain(*june, *(snapshot(f"{hour:02}", f"2026-09-{1 + hour // 24:02}T{hour % 24:02}:00:00Z") for hour in range(12, 60)))
    ids = [s["id"] for s in often[4:]]
    for what, start, kept in (("48 runs within 48 hours do not settle", "2026-09-03T11:59:59Z", {"a": within, **{i: both for i in "bc"}}),
                              ("48 hours do", "2026-09-03T12:00:00Z", {i: gap for i in "bc"})):
        check(what, month, chain(*often, snapshot("y", start)), {**kept, "12": both, **dict.fromkeys([*ids, "y"], within)})

    # The limit is 2 days, whatever the rules are. The runs of an hour's rhythm leave it to the limit alone.
    for keep in (last, {"tags": ["t"]}, {"within-daily": "99999999999999y"}, *({"within": span} for span in ("1h", "49h", "7d", "1y"))):
        for start, ids in (("2026-06-03T12:00:00Z", ()), ("2026-06-03T12:00:01Z", ("h11", "h12", "x"))):
            check_gap(f"{keep}: {start}", keep, chain(*hours, snapshot("x", start)), ids)

    # The rhythm: the smaller one of the two distances before.
    check_gap("4 times a day is no break", day, chain(*june, snapshot("x", "2026-06-07")), "")
    check_gap("more is", day, chain(*june, snapshot("x", "2026-06-07T12:00:01Z")), "bcx")
    check_gap("a second one at that time knows of the first", day, chain(*june, x, snapshot("y", "2026-09-01")), "bcx")
    for what, unknown in (("none", None), ("its own start", c["start"]), ("a later one", "2030-01-01T12:00:00Z")):
        odd = [a, b, snapshot("c", "2026-06-03", previous=unknown)]
        for start, ids in (("2026-06-07", ""), ("2026-06-07T12:00:01Z", "bcx")):
            check_gap(f"previous is {what}, so the one before is asked", day, odd + [snapshot("x", start, previous=c["start"])], ids)
    for what, unknown in (("none", None), ("its own start", x["start"]), ("a later one", "2030-01-01T12:00:00Z")):
        check_gap(f"previous is {what}: no break is seen", day, june + [{**x, "previous": unknown}], "")
    # Either of the two can be the smaller one: distances of 3 days and 1, then of 1 day and 3. The limit is 2 days.
    for second, third in (("2026-06-04", "2026-06-05"), ("2026-06-02", "2026-06-05")):
        uneven = chain(snapshot("a", "2026-06-01"), snapshot("b", second), snapshot("c", third))
        for start, measured in (("2026-06-09", False), ("2026-06-09T12:00:01Z", True)):
            # The 3 days of the first b follow a break, as there is no rhythm before it.
            ids = set("bcx" if measured else "") | set("ab" if second == "2026-06-04" else "")
            check_gap(f"{second} and {third}, then {start}", day, chain(*uneven, snapshot("x", start)), ids)
    # 06-03 to 09-01 are 90 days, and so are those to 11-30; 360 days later is 2027-11-25.
    y = snapshot("y", "2026-11-30")
    check("after two breaks a longer one is none up to 4 times", month, chain(*june, x, y, snapshot("z", "2027-11-25")), {"z": within})
    check("beyond that it is", month, chain(*june, x, y, snapshot("z", "2027-11-25T12:00:01Z")),
          {"a": within, **{i: both for i in "bcxyz"}})

    check("the first snapshot ever", day, chain(a), {"a": within})
    check("the second, a day later", day, chain(a, b), {"a": within, "b": within})
    check("the second, after a break", day, chain(a, x), {"a": both, "x": both})
    # The second of them follows a break, as there is no rhythm yet. From 02-01 to 03-01 are 28 days, to 04-01 59.
    months = chain(*(snapshot(str(i), f"2026-0{i}-01") for i in (1, 2, 3, 4, 5)))
    week = {"within": "7d"}
    for number, kept in ((2, {"1": both, "2": both}), (3, {"1": gap, "2": gap, "3": within}), (4, {"4": within}), (5, {"5": within})):
        check(f"{number} months, of which from the third on none is a break", week, months[:number], kept)
    # What is left of a run a day: its last ones of each month. 03-31 to 04-12 are 12 days.
    left = [snapshot("2", "2026-02-28", previous="2026-02-27T12:00:00Z"), snapshot("3", "2026-03-31", previous="2026-03-30T12:00:00Z")]
    for previous, kept in (("2026-04-11T12:00:00Z", {"x": within}), ("2026-03-31T12:00:00Z", {"2": gap, "3": both, "x": both})):
        check(f"what is dropped is not forgotten: {previous}", week, left + [snapshot("x", "2026-04-12", previous=previous)], kept)

    weeks = chain(*june, x, *(snapshot(f"w{day}", f"2026-09-{day:02}") for day in range(3, 30, 2)))
    check("a second before 30 days after a break", last, chain(*weeks, snapshot("y", "2026-10-01T11:59:59Z")),
          {**{i: gap for i in "bcx"}, "y": ["last 1 of 1"]})
    check("30 days after a break", last, chain(*weeks, snapshot("y", "2026-10-01T12:00:00Z")), {"y": ["last 1 of 1"]})
    check("as many as the floor, which has less to say", last, chain(*june, x), {**{i: gap for i in "abc"}, "x": ["last 1 of 1", "gap"]},
          floor=3)
    # The rhythm is that of b alone.
    check("a floor of 0 is 1 for a break", last, chain(a, b, {**c, "previous": None}, x),
          {"b": gap, "c": gap, "x": ["last 1 of 1", "gap"]}, floor=0)
    check("every break of 30 days, each snapshot once", last,
          chain(*june, snapshot("v", "2026-07-03"), snapshot("w", "2026-07-04"), snapshot("x", "2026-07-16")),
          {**{i: gap for i in "bcvw"}, "x": ["last 1 of 1", "gap"]}, floor=2)
    check("incomplete ones neither end nor follow a break", last, chain(*june, half("h", "2026-06-04"), half("i", "2026-07-20"), x),
          {"b": gap, "c": gap, "x": ["last 1 of 1", "gap"]}, floor=2)
    check("gap comes after the rules", {"daily": 2, "within-yearly": "1y"}, chain(*june, x),
          {"b": gap, "c": ["daily 2 of 2", "gap"], "x": ["daily 1 of 2", "within-yearly", "gap"]})

    # A clock that is wrong: while it is, and when it is right again.
    jumped = chain(*june, snapshot("j", "2030-01-01"))
    check("one run of a jumped clock loses nothing", month, jumped, {"a": within, **{i: both for i in "bcj"}})
    check("nor does a second within 48 hours", month, chain(*jumped, snapshot("k", "2030-01-02")),
          {"a": within, **{i: both for i in "bcj"}, "k": within})
    check("nor do two jumps", month, chain(*jumped, snapshot("k", "2031-01-01")), {"a": within, **{i: both for i in "bcjk"}})
    back = chain(*jumped, snapshot("k", "2026-06-04"))  # which knows of c, not of j
    check("a clock that is right again", month, back, {**{i: within for i in "abck"}, "j": ["future"]}, now="2026-06-04T12:05:00Z")
    # The 31 days from j are measured by k, whose day measures j too.
    check("nor do two with right runs between them", month, chain(*back, snapshot("l", "2030-02-01")),
          {**{i: within for i in "ab"}, **{i: both for i in "cjkl"}})

    # The 40 days before z are measured by the day of w, as y's distance is unknown. No rule keeps w, beside y on its day;
    # without it, 40 days are not more than 4 times the 20 of v.
    measured = [snapshot("v", "2026-06-26", previous="2026-06-06T12:00:00Z"),
                snapshot("w", "2026-07-01T10:00:00Z", previous="2026-06-30T10:00:00Z"),
                snapshot("y", "2026-07-01"), snapshot("z", "2026-08-10", previous="2026-07-01T12:00:00Z")]
    daily, alone = {"within-daily": "30d"}, ["within-daily"]
    check("what a break is measured by is kept", daily, measured, {"w": gap, **{i: alone + gap for i in "vyz"}})
    check("without it there would be no break", daily, [s for s in measured if s["id"] != "w"], {"z": alone})
    check("it is kept after 48 hours too", daily, measured + [snapshot("zz", "2026-08-12", previous="2026-08-10T12:00:00Z")],
          {**{i: gap for i in "vwy"}, "z": alone + gap, "zz": alone})

    def ids_at_end(keep, starts, floor):
        """What is kept after the last of these runs, judged after each; an id is its start."""
        *_, (_, result) = live({"zone": "UTC", "keep": keep, "floor": floor}, runs_at(starts), lambda start, number: start)
        return result["kept"]

    def noons(month, days):
        return [f"2026-{month}-{day:02}T12:00:00+00:00" for day in days]
    # 2026-12-27 was a Sunday. Judged after every run, only what is named here is left each time.
    newest_three = (["daily 3 of 3"], ["daily 2 of 3"], ["daily 1 of 3", "weekly 1 of 2"])
    for end, beside_gap in ((30, noons("06", (29, 30)) + noons("12", (1,))), (31, [])):
        expected = {**dict.fromkeys(beside_gap, gap), noons("12", (27,))[0]: ["weekly 2 of 2"],
                    **dict(zip(noons("12", range(end - 2, end + 1)), newest_three))}
        found = ids_at_end({"daily": 3, "weekly": 2}, noons("06", range(1, 31)) + noons("12", range(1, end + 1)), 2)
        assert found == expected, f"until December {end}: {found}"

    def clock_hours(date, first, last):
        return [f"{date}T{hour:02}:00:00+00:00" for hour in range(first, last + 1)]

    # Of what was there in June, the floor of 3 stays, though the three newest are of December.
    found = ids_at_end({"last": 3}, clock_hours("2026-06-01", 8, 12) + clock_hours("2026-12-01", 8, 12), 3)
    assert found == {**{start: gap for start in clock_hours("2026-06-01", 10, 12) + clock_hours("2026-12-01", 8, 8)},
                     **dict(zip(clock_hours("2026-12-01", 10, 12), (["last 3 of 3"], ["last 2 of 3"], ["last 1 of 3"])))}, f"hours: {found}"

    check("the floor fills up", {"last": 1}, june, {"c": ["last 1 of 1"], "b": ["floor"]}, floor=2)
    check("a floor of 0 is 1", {"tags": ["t"]}, june, {"c": ["floor"]}, floor=0)
    check("tags in the order of the rules", {"tags": ["u", "t", "u"]}, [snapshot("a", "2026-06-01", tags=["t", "u", "v"])] + june[1:],
          {"a": ["tag u", "tag t"], "c": ["floor"]})
    check("the newest verified one", {"last": 1}, [snapshot("a", "2026-06-01", verified=True),
          snapshot("b", "2026-06-02", verified=True), june[2], half("d", "2026-05-01", verified=True)],
          {"b": ["verified"], "c": ["last 1 of 1"]})

    # Incomplete ones. Complete on the 2nd, 4th and 6th; two tries on the 5th, one on every other day.
    mixed = [half("1", "2026-06-01"), snapshot("2", "2026-06-02"), half("3", "2026-06-03"), snapshot("4", "2026-06-04"),
             half("5", "2026-06-05T01:00:00Z"), half("5b", "2026-06-05T02:00:00Z"), half("6", "2026-06-06T01:00:00Z"),
             snapshot("6b", "2026-06-06T02:00:00Z"), half("7", "2026-06-07")]
    check("the shadow of days", {"daily": 2}, mixed,
          {"4": ["daily 2 of 2"], "5b": ["daily incomplete"], "6b": ["daily 1 of 2"], "7": ["newest", "daily incomplete"]})
    check("the shadow of more days than there are", {"daily": 4}, mixed,
          {"1": ["daily incomplete"], "2": ["daily 3 of 4"], "3": ["daily incomplete"], "4": ["daily 2 of 4"],
           "5b": ["daily incomplete"], "6b": ["daily 1 of 4"], "7": ["newest", "daily incomplete"]})
    check("the shadow of the last", {"last": 2}, mixed,
          {"4": ["last 2 of 2"], **{i: ["last incomplete"] for i in ("5", "5b", "6")}, "6b": ["last 1 of 2"],
           "7": ["newest", "last incomplete"]})
    check("the shadow of the last of all", {"last": "all"}, mixed[:3],
          {"1": ["last incomplete"], "2": ["last 1 of all"], "3": ["newest", "last incomplete"]})
    check("the shadow of a window", {"within-daily": "2d"}, mixed,
          {"4": ["within-daily"], "5b": ["within-daily incomplete"], "6b": ["within-daily"], "7": ["newest", "within-daily incomplete"]})
    check("the window has no shadow of its own", {"within": "2d"}, mixed,
          {**{i: ["within"] for i in ("4", "5", "5b", "6", "6b")}, "7": ["newest", "within"]})

    check("future-dated ones take no part", {"last": 1},
          [june[0], snapshot("b", "2026-06-02T12:05:00Z"), snapshot("c", "2026-06-02T12:05:01Z", pin="forever"),
           half("d", "2027-01-01")],
          {"b": ["last 1 of 1"], "c": ["future"], "d": ["future"]}, now="2026-06-02T12:00:00Z")
    check("the store's clock has a say", {"last": 1},
          [snapshot("a", "2026-06-01T12:00:00Z", stored="2026-06-01T11:00:00Z"),
           snapshot("b", "2026-06-02T12:00:00Z", stored="2026-06-02T10:59:59Z")], {"a": ["last 1 of 1"], "b": ["future"]})

    check("without a complete one nothing is dropped", {"last": 1, "tags": ["t"]},
          [half("a", "2026-06-01", tags=["t"]), half("b", "2026-06-02", pin="1990-01-01T00:00:00Z"), snapshot("c", "2026-06-09")],
          {"a": ["tag t", "newest"], "b": ["pinned", "newest"], "c": ["future"]}, held="only-future", now="2026-06-03T00:00:00Z")
    check("a future-dated one alone", last, [snapshot("a", "2026-06-01", stored="2026-05-01T00:00:00Z")], {"a": ["future"]},
          held="only-future")
    check("an incomplete one of the future is not complete", last, [half("a", "2026-06-01"), half("b", "2026-06-09")],
          {"a": ["newest"], "b": ["future"]}, held="no-complete", now="2026-06-03T00:00:00Z")
    check("nothing at all", {"last": 1}, [], {}, held="no-complete")
    late = {"now": "2026-06-04T12:00:01Z", "max_age": 86400}
    check("an overdue group is held", {"last": 1}, june, {"a": ["held"], "b": ["floor"], "c": ["last 1 of 1"]},
          held="overdue", floor=2, **late)
    check("a day is not overdue by a day", {"last": 1}, june, {"c": ["last 1 of 1"]}, **{**late, "now": "2026-06-04T12:00:00Z"})
    check("unless it is wanted", {"last": 1}, june, {"c": ["last 1 of 1"]}, **late, even_if_overdue=True)

    # Steered from 2026-06-03, first as c is the newest and then because of the break after it.
    pinned = [snapshot("p", "2026-05-31", pin="2026-06-03T12:00:01Z"), snapshot("q", "2026-05-31T13:00:00Z", pin="2026-06-03T12:00:00Z")]
    check("a pin ends by the steering time", last, pinned + june, {"p": ["pinned"], "c": ["last 1 of 1"]})
    check("a jump ends no pin", last, pinned + chain(*june, x), {"p": ["pinned"], "b": gap, "c": gap, "x": ["last 1 of 1", "gap"]})
    check("48 hours after the break end it", last, pinned + chain(*june, x, snapshot("y", "2026-09-03")),
          {**{i: gap for i in "bcx"}, "y": ["last 1 of 1"]})
    check("a pin for ever, which is before a break too", last,
          [snapshot("p", "1900-01-01", pin="forever")] + chain({**a, "previous": "1900-01-01T12:00:00Z"}, b, c),
          {"p": ["pinned", "gap"], "a": gap, "c": ["last 1 of 1"]})
    check_rhythms()
    print(f"good; {check_lives(300)}")

# ---------------------------------------------------------------- selftest: lives
def previous_of(start, entries):
    """What is written into a snapshot that is made beside these: the start of the newest complete one that is not later."""
    return max((s["start"] for s in entries if s["complete"] and instant(s["start"]) <= instant(start)), key=instant, default=None)

def runs_at(starts):
    return [{"start": start, "complete": True} for start in starts]

def live(case, runs, id_of):
    """Judges after every run, and drops what is dropped; gives each case with its result."""
    snapshots = []
    for number, run in enumerate(runs):
        now = instant(run["start"]) + timedelta(minutes=5)
        if run.get("tidy"):  # somebody drops by hand what is dated in the future
            snapshots = [s for s in snapshots if instant(s["start"]) <= now]
        snapshots.append({**run, "id": id_of(run["start"], number), "previous": previous_of(run["start"], snapshots)})
        judged = {**case, "now": now.isoformat(), "snapshots": snapshots}
        result = judge(judged)
        yield judged, result
        snapshots = [s for s in snapshots if s["id"] in result["kept"]]

def random_life(random, clock_jumps):
    """The rules, and the runs: of an hour's to a month's rhythm, and between some of them the machine was off."""
    keep = {rule: random.choice([1, 2, 3, 5, 7, 12, "all"]) for rule in COUNT_RULES if random.random() < 0.3}
    keep.update((rule, random.choice(["12h", "24h", "2d", "7d", "30d", "3mo", "1y"])) for rule in SPAN_RULES if random.random() < 0.2)
    if not keep or random.random() < 0.2: keep["tags"] = ["t"]
    time, runs, runs_left, jump, jumped_runs_left = datetime(2025, 9, 1, 8, tzinfo=timezone.utc), [], 0, timedelta(0), 0
    store_has_clock = random.random() < 0.5
    for _ in range(random.randint(2, 40)):
        if runs_left == 0:
            hours, runs_left = random.choice([1, 2, 24, 24, 48, 168, 720]), random.randint(1, 15)
            time += timedelta(days=random.choice([0, 0, 0, 0, 0, 2, 6, 10, 40, 180]))
        runs_left -= 1
        time += timedelta(seconds=int(3600 * hours * random.choice([1, 1, 1, random.uniform(0.9, 1.1)])))
        tidy = False
        if jumped_runs_left:
            jumped_runs_left -= 1
            if jumped_runs_left == 0: jump, tidy = timedelta(0), random.random() < 0.5
        elif clock_jumps and random.random() < 0.1:
            jump, jumped_runs_left = timedelta(days=random.choice([-400, -3, -1, 1, 5, 20, 60, 400])), random.randint(1, 4)
        start, pin = time + jump, (time + timedelta(days=random.choice([3, 60, 400]))).isoformat()
        runs.append({
            "start": start.isoformat(), "complete": random.random() < 0.85, "tidy": tidy,
            "tags": ["t"] if random.random() < 0.05 else [], "verified": random.random() < 0.1,
            "pin": random.choice(["forever", pin]) if random.random() < 0.06 else None,
            "stored": (time + timedelta(minutes=1)).isoformat() if store_has_clock else None})
    # In the end, 34 days without a break.
    for number in range(17):
        time += timedelta(days=2)
        runs.append({"start": time.isoformat(), "complete": True, "tidy": number == 0})
    return {"zone": "Europe/Berlin", "keep": keep, "floor": random.choice([1, 2, 3])}, runs

def check_rhythms():
    """No rhythm lets a group grow without end: two runs each time, an hour or a day apart, 40 times, judged after each.

    By hand, c0 being the newest, c1 the one before it: a group is greatest when c0 is the first of two. So c0, c2, ... follow
    breaks. That of c10 and the older ones are settled, so c9 steers. How long before c0 it is, and what is within 30 days of it:
      a day apart, every 7 days       c0 is a Saturday; c9 is 34 days before, c18 63 days, c19 69
      an hour apart, every 10 days    c9 is 50 days before, less an hour; c15 80 days less an hour, c16 80 days
      an hour apart, every 30 days    c9 is 150 days before, less an hour; c11 180 days less an hour, c12 180 days
    """
    first = datetime(2026, 6, 6, 12, tzinfo=timezone.utc)
    for hours_apart, days, most in ((24, 7, 19), (1, 10, 16), (1, 30, 12)):
        starts = [(first + timedelta(days=days * time, hours=hours)).isoformat() for time in range(40) for hours in (0, hours_apart)]
        rules = {"zone": "UTC", "keep": {"within": "30d"}, "floor": 3}
        sizes = [len(result["kept"]) for _, result in live(rules, runs_at(starts), lambda start, number: f"{number:02}")]
        assert max(sizes) == max(sizes[60:]) == most, f"two runs, {hours_apart} h apart, every {days} days: {sizes}"

def check_lives(count):
    """Two properties of whole lives, each of them judged after every run; in every second one the clock jumps.

    A second judgement at the same time drops nothing more, as what an unsettled or young break is measured by is kept.

    `gap` ends: there is none without a distance of more than 2 days in the 30 days before the newest, counted among all
    that were ever made; and none is left when every life ends with 34 days of regular runs.
    """
    judgements = 0
    for seed in range(count):
        clock_jumps, made = seed % 2 == 1, []
        rules, runs = random_life(Random(seed), clock_jumps)
        for case, result in live(rules, runs, lambda start, number: f"{number:02}"):
            judgements += 1
            now, kept = instant(case["now"]), result["kept"]
            snapshots = read_snapshots(case["snapshots"], read_zone(case["zone"]))
            complete = [s for s in reversed(snapshots) if s.complete and not is_future(s, now)]
            again = judge({**case, "snapshots": [s for s in case["snapshots"] if s["id"] in kept]})
            assert not again["dropped"], f"life {seed}: lost {again['dropped']}: {case}"
            made.append(next(s for s in snapshots if s.id == case["snapshots"][-1]["id"]))
            if any("gap" in reasons for reasons in kept.values()):
                since = complete[0].start - KEPT_AFTER_BREAK
                assert any(s.complete and distance(s) and distance(s) > LONGEST_PAUSE and s.start > since for s in made), \
                    f"life {seed}: a gap without a break: {case}"
        assert not any("gap" in reasons for reasons in kept.values()), f"life {seed}: a gap that does not end: {kept}"
    return f"{judgements} judgements of {count} random lives, all of them final"

# ---------------------------------------------------------------- command line
def read_zone(name):
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Wrong(f"{name!r} is not a time zone of this machine's data") from None

def main(arguments):
    if arguments not in ([], ["--selftest"]):
        print("usage: retention.py [--selftest]", file=sys.stderr)
        return 2
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        print("retention.py: no time zone data on this machine: install it (tzdata), or name its folder in PYTHONTZPATH", file=sys.stderr)
        return 2
    if arguments:
        selftest()
        return 0
    results, where = [], "the document"
    try:
        for number, case in enumerate(json.load(sys.stdin)["cases"]):
            where = f"case {number}"
            results.append(judge(case))
    except (Wrong, KeyError, TypeError, ValueError, OverflowError) as error:
        print(f"retention.py: {where}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    json.dump({"results": results}, sys.stdout)
    print()
    return 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
