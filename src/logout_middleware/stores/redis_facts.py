"""Facts in Redis: a hash for each subject, from the name of a fact to its two times and its text.

The hash expires a day after the last of its facts has ended; of one that lives on, whoever adds a name to it drops
what ended. The scripts merge exactly as `merge_facts` does, and their answers carry marks as those about records do.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import PURGE_DELAY, Fact
from .facts import FactRow, distinct, facts_of, rows_of_facts
from .redis_packing import DOUBLE, PARTS, RawMark, part_of
from .redis_scripts import COMMON, GREATER, VOUCH, Script

if TYPE_CHECKING:
    from .redis import RedisStore

_TIMES = struct.Struct("<dd")
_AT_ONCE = 250 * PARTS
_ASKED_AT_ONCE = 4096

LEARN = Script(
    COMMON
    + GREATER
    + """
local base, part, limit = ARGV[1], ARGV[2], struct.unpack('<d', ARGV[3])
if redis.call('EXISTS', base .. 'state') == 0 then return part end
local function merge(a, b)
  local at_a, until_a = struct.unpack('<dd', a)
  local at_b, until_b = struct.unpack('<dd', b)
  local latest, longest = a, a
  if at_b > at_a or (at_b == at_a and greater(sub(b, 17), sub(a, 17))) then latest = b end
  if until_b > until_a then longest = b end
  return sub(latest, 1, 8) .. sub(longest, 9, 16) .. sub(latest, 17)
end
local function forget_ended(key)
  local entries = redis.call('HGETALL', key)
  for i = 1, #entries, 2 do
    if struct.unpack('<d', entries[i + 1], 9) < limit then redis.call('HDEL', key, entries[i]) end
  end
end
for at = 4, #ARGV, 4 do
  local key, name, new, kept = base .. 'f:' .. ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local old = redis.call('HGET', key, name)
  -- Even if that changes nothing: WAIT covers what this connection wrote last, and what is there may be another's.
  redis.call('HSET', key, name, old and merge(old, new) or new)
  if redis.call('PTTL', key) < kept then redis.call('PEXPIRE', key, format('%.0f', kept)) end
  if not old then
    -- Each time in a small hash, now and then in a large one: what ended goes as fast as new names come.
    local names = redis.call('HLEN', key)
    if names <= 32 or names % 32 == 0 then forget_ended(key) end
  end
end
return mark(base, part)
"""
)
"""tag, partition, limit, then key in hex, name, fact and milliseconds to keep the key → the mark.

Nothing is done where there is no mark."""

FACTS = Script(
    COMMON
    + VOUCH
    + """
local prefix, subjects = ARGV[1], ARGV[2]
local marks, found, bases = {}, {}, {}
local function hex(text)
  return (string.gsub(text, '.', function(c) return format('%02x', byte(c)) end))
end
for at = 1, #subjects, 16 do
  local part = byte(subjects, at) % 16
  local base = bases[part]
  if not base then
    base = '{' .. prefix .. part .. '}:'
    if #marks == 0 then
      local refused = vouch(base)
      if refused then return refused end
    end
    bases[part] = base
    marks[#marks + 1] = mark(base, part)
  end
  local subject = sub(subjects, at, at + 15)
  local facts = redis.call('HGETALL', base .. 'f:' .. hex(subject))
  if #facts > 0 then
    found[#found + 1] = subject
    found[#found + 1] = facts
  end
end
return {marks, found}
"""
)
"""prefix, subjects joined → the marks of their partitions, and each subject that is known with its names and facts."""


async def learn(store: RedisStore, facts: Sequence[Fact], now: float, until: float) -> None:
    """Merge these in, and have them confirmed; see Store.learn."""
    rows = rows_of_facts(facts)
    limit = DOUBLE.pack(now - PURGE_DELAY)
    for start in range(0, len(rows), _AT_ONCE):
        groups: dict[int, list[Any]] = {}
        for row in rows[start : start + _AT_ONCE]:
            groups.setdefault(part_of(row[0]), []).extend(_learned(row, now))
        proof = store.proof()
        commands = [
            (part, LEARN(f"{store.tags[part]}state", store.tags[part], part, limit, *members))
            for part, members in groups.items()
        ]
        replies, confirmed = await store.nodes.ask(commands, until, store.wait(until))
        marks = [RawMark.of(raw) for raw in replies]
        for mark in marks:
            store.prove_one(mark, proof)
        if store.wait_for_replicas:
            await store.confirm(marks, min(confirmed), until, proof)


def _learned(row: FactRow, now: float) -> tuple[str, bytes, bytes, str]:
    subject, name, at, until, text = row
    # By the clock that says when it has ended, not by the server's.
    kept = max((until + PURGE_DELAY - now) * 1000.0, 1.0)
    return subject.hex(), name, _TIMES.pack(at, until) + text, f"{kept:.0f}"


async def facts_about(store: RedisStore, subjects: Sequence[bytes], now: float, until: float) -> list[Fact]:
    """Those of these subjects that have not ended; see Store.facts."""
    found: list[Fact] = []
    named = distinct(subjects)
    for start in range(0, len(named), _ASKED_AT_ONCE):
        proof = store.proof()
        replies, _ = await store.nodes.ask(store.questions(FACTS, named[start : start + _ASKED_AT_ONCE]), until)
        store.prove([raw for reply in replies for raw in reply[0]], proof)
        for _, members in replies:
            for subject, entries in zip(members[::2], members[1::2], strict=True):
                found += facts_of(
                    (subject, name, *_TIMES.unpack_from(packed), packed[_TIMES.size :])
                    for name, packed in zip(entries[::2], entries[1::2], strict=True)
                )
    return [fact for fact in found if fact.until > now]
