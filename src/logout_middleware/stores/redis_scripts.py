"""What is stored in Redis, how it is packed, and the scripts that read and change it.

Keys are spread over 16 partitions, by their first byte. All keys of a partition share a hash tag, `{logout:3}`:

    …:state     a hash: id and adopted_at (the mark), seq (changes so far), sure (those that replicas confirmed),
                last (a random word of the last change), count (records)
    …:feed      a stream of changes, ids seq-0: its last words of before and after, the key and what is new of it
    …:b:<4 hex> buckets: hashes from the last 14 bytes of a key to its records, which Redis keeps in one compact
                block each; the 4 digits are the first 2 bytes of the key
    …:h:<key>   a counter for `hit`
    …:f:<key>   a hash of all facts about a key (redis_facts.py)
    …:nothing   never exists; see vouch

Every change is one script, which is atomic, and which merges exactly as `rules.revocation.merge` does.
Nothing relies on a key that Redis lets expire, except the counters and, a day after they ended, the facts.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ..rules.revocation import FOREVER
from .redis_packing import REASONS, SPELLED

BUCKETS = 4096
"""Buckets of one partition."""
FEED_LENGTH = 4096
"""Changes that one partition keeps at least. A reader that is further behind begins again, which takes seconds."""

_sources: dict[str, str] = {}


class Script:
    """A Lua script; calling it makes the command that runs it by its hash."""

    def __init__(self, source: str) -> None:
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        _sources[self.sha] = source

    def __call__(self, key: str, *arguments: Any) -> tuple[Any, ...]:
        """The command; `key` routes it."""
        return ("EVALSHA", self.sha, 1, key, *arguments)


def as_eval(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same command with the script itself, for a server that does not know it yet."""
    return ("EVAL", _sources[command[1]], *command[2:]) if command[0] == "EVALSHA" else command


COMMON = """
local byte, sub, format, floor = string.byte, string.sub, string.format, math.floor
local function mark(base, part)
  local s = redis.call('HMGET', base .. 'state', 'id', 'adopted_at', 'seq', 'sure', 'last')
  if not s[1] then return tostring(part) end
  return part .. ' ' .. s[1] .. ' ' .. s[2] .. ' ' .. s[3] .. ' ' .. s[4] .. ' ' .. s[5]
end
local function bucket(base, first, second)
  return base .. 'b:' .. format('%02x%02x', first, second)
end
"""

# A write that changes nothing: a server that may not write (a replica, or a master that lost its replicas and was told
# by min-replicas-to-write) may not vouch for what it says either. A full disk is no reason not to answer.
VOUCH = """
local function vouch(base)
  local answer = redis.pcall('DEL', base .. 'nothing')
  if type(answer) == 'table' and answer.err
      and (string.find(answer.err, 'READONLY', 1, true) or string.find(answer.err, 'NOREPLICAS', 1, true)) then
    return answer
  end
end
"""

FIND = Script(
    COMMON
    + VOUCH
    + """
local prefix, keys = ARGV[1], ARGV[2]
local marks, found, bases = {}, {}, {}
for at = 1, #keys, 16 do
  local first, second = byte(keys, at, at + 1)
  local part = first % 16
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
  local records = redis.call('HGET', bucket(base, first, second), sub(keys, at + 2, at + 15))
  if records then
    found[#found + 1] = sub(keys, at, at + 15)
    found[#found + 1] = records
  end
end
return {marks, found}
"""
)
"""prefix, keys joined → the marks of their partitions, and each key that has records with them."""

MARKS = Script(
    COMMON
    + VOUCH
    + """
local marks = {}
for at = 2, #ARGV do
  local base = '{' .. ARGV[1] .. ARGV[at] .. '}:'
  if at == 2 then
    local refused = vouch(base)
    if refused then return refused end
  end
  marks[#marks + 1] = mark(base, ARGV[at])
end
return marks
"""
)
"""prefix, partitions → their marks."""

GREATER = """
-- Not Lua's own `<`, which asks the locale.
local function greater(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = byte(a, at), byte(b, at)
    if x ~= y then return x > y end
  end
  return #a > #b
end
"""

_RECORDS = GREATER + (
    f"local FOREVER, SPELLED = {FOREVER:.1f}, {SPELLED}\n"
    f"local REASONS = {{{', '.join(f'[{number}] = {reason!r}' for number, reason in enumerate(REASONS))}}}\n"
    """
local function read(text, at)
  local flags = byte(text, at)
  local r = {from = at, before = FOREVER, ['until'] = FOREVER, before_bytes = '', until_bytes = ''}
  r.before_flag, r.until_flag = flags % 2, floor(flags / 2) % 4
  r.reason_flag = floor(flags / 16)
  at = at + 1
  if r.before_flag == 1 then
    r.before, r.before_bytes, at = struct.unpack('<d', text, at), sub(text, at, at + 7), at + 8
  end
  if r.until_flag == 1 then
    r['until'], r.until_bytes, at = struct.unpack('<d', text, at), sub(text, at, at + 7), at + 8
  elseif r.until_flag == 0 then
    local a, b, c = byte(text, at, at + 2)
    r['until'], r.until_bytes, at = (a + b * 256 + c * 65536) * 3600, sub(text, at, at + 2), at + 3
  end
  if r.reason_flag == SPELLED then
    local length = struct.unpack('<I4', text, at)
    r.reason, r.reason_bytes, at = sub(text, at + 4, at + 3 + length), sub(text, at, at + 3 + length), at + 4 + length
  else
    r.reason, r.reason_bytes = REASONS[r.reason_flag], ''
  end
  r.keep = ''
  if floor(flags / 8) % 2 == 1 then
    local length = struct.unpack('<I4', text, at)
    r.keep, at = sub(text, at, at + 3 + length), at + 4 + length
  end
  r.bytes = sub(text, r.from, at - 1)
  return r, at
end
local function all(text)
  local records, at, r = {}, 1, nil
  while at <= #text do
    r, at = read(text, at)
    records[#records + 1] = r
  end
  return records
end
local function merge(a, b)
  local latest, longest = a, a
  if b.before > a.before or (b.before == a.before and greater(b.reason, a.reason)) then latest = b end
  if b['until'] > a['until'] then longest = b end
  local flags = latest.before_flag + longest.until_flag * 2 + latest.reason_flag * 16
  if #a.keep > 0 then flags = flags + 8 end
  return read(string.char(flags) .. latest.before_bytes .. longest.until_bytes .. latest.reason_bytes .. a.keep, 1)
end
local function join(records)
  local texts = {}
  for i, r in ipairs(records) do texts[i] = r.bytes end
  return table.concat(texts)
end
-- Nearly every record is a usual one, of 4 bytes: it is looked at without being taken apart.
local function lasts(value, limit)
  if #value ~= 4 then return false end
  local flags, a, b, c = byte(value, 1, 4)
  return floor(flags / 2) % 4 == 0 and (a + b * 256 + c * 65536) * 3600 >= limit
end
local function drop_ended(name, limit)
  local dropped, entries = 0, redis.call('HGETALL', name)
  for i = 1, #entries, 2 do
    if not lasts(entries[i + 1], limit) then
      local kept, records = {}, all(entries[i + 1])
      for _, r in ipairs(records) do
        if r['until'] >= limit then kept[#kept + 1] = r end
      end
      dropped = dropped + #records - #kept
      if #kept == 0 then
        redis.call('HDEL', name, entries[i])
      elseif #kept < #records then
        redis.call('HSET', name, entries[i], join(kept))
      end
    end
  end
  return dropped, #entries / 2
end
"""
)

ADD = Script(
    COMMON
    + _RECORDS
    + f"""
local base, part, limit, word, replicas = ARGV[1], ARGV[2], struct.unpack('<d', ARGV[3]), ARGV[4], ARGV[5]
local known, adopted_at, changes = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local state = redis.call('HMGET', base .. 'state', 'id', 'seq', 'last', 'adopted_at')
if not state[1] then return part end
-- As Memory.check: to count on from a number that fell would hide that it fell.
if known ~= '' and tonumber(state[4]) <= adopted_at and (state[1] ~= known or tonumber(state[2]) < changes) then
  return mark(base, part)
end
local seq, last, count, changed = tonumber(state[2]), state[3], 0, false
for at = 9, #ARGV, 2 do
  local key, new = ARGV[at], ARGV[at + 1]
  local name, field = bucket(base, byte(key, 1, 2)), sub(key, 3)
  local old = redis.call('HGET', name, field)
  local value, news = new, new
  if old and old ~= new then
    local records, merged = all(old), {{}}
    local before = #records
    for _, r in ipairs(all(new)) do
      local place = #records + 1
      for i, other in ipairs(records) do
        if other.keep == r.keep then place = i end
      end
      records[place] = records[place] and merge(records[place], r) or r
      merged[#merged + 1] = records[place]
    end
    value, news, count = join(records), join(merged), count + #records - before
  elseif not old then
    count = count + (#new <= 4 and 1 or #all(new))
  end
  if value ~= old then
    redis.call('HSET', name, field, value)
    seq, changed = seq + 1, true
    redis.call('XADD', base .. 'feed', 'MAXLEN', '~', {FEED_LENGTH}, format('%.0f-0', seq), 'r',
      last .. word .. key .. news)
    last = word
    -- Each time in a small bucket, now and then in a large one: what ended goes as fast as new records come.
    if seq % 8 == 0 or redis.call('HLEN', name) <= 32 then
      local gone = drop_ended(name, limit)
      count = count - gone
    end
  end
end
if changed then
  redis.call('HSET', base .. 'state', 'seq', format('%.0f', seq), 'last', last)
  if replicas == '0' then redis.call('HSET', base .. 'state', 'sure', format('%.0f', seq)) end
end
-- Also by nothing, where replicas are waited for: WAIT covers what this connection wrote last, and the record that
-- is there already may be another one's, not yet confirmed.
if count ~= 0 or replicas ~= '0' then redis.call('HINCRBY', base .. 'state', 'count', count) end
return mark(base, part)
"""
)
"""tag, partition, limit, word, replicas, the known id, adopted_at and changes, then keys and records → the mark.

Nothing is done where there is no mark, or none that follows the known one."""

SURE = Script(
    """
local sure = redis.call('HGET', KEYS[1], 'sure')
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] and sure and tonumber(sure) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'sure', ARGV[2])
end
return 1
"""
)
"""id, seq: the changes up to it are confirmed."""

CREATE = Script(
    COMMON
    + """
local base, part, id, adopted_at, adopt = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
local state = redis.call('HMGET', base .. 'state', 'id', 'adopted_at', 'seq')
if adopt or not state[1] then
  local seq = state[3] or '0'
  if state[2] and tonumber(state[2]) >= adopted_at then adopted_at = tonumber(state[2]) + 1 end
  redis.call('HSET', base .. 'state', 'id', id, 'adopted_at', format('%.0f', adopted_at), 'seq', seq, 'sure', seq,
    'last', '00000000')
  redis.call('HINCRBY', base .. 'state', 'count', 0)
  redis.call('DEL', base .. 'feed')
end
return mark(base, part)
"""
)
"""tag, partition, id, adopted_at, adopt: a new mark, only if there is none or if adopting → the mark that is there."""

DISOWN = Script("""
local base, known, changes, id = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local state = redis.call('HMGET', base .. 'state', 'id', 'seq')
if state[1] == known and tonumber(state[2]) < changes then redis.call('HSET', base .. 'state', 'id', id) end
""")
"""tag, id, changes, another id: if it is that store with fewer changes, it becomes another, which nobody adopted."""

DUMP = Script(
    COMMON
    + f"""
local base, part, at, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]) * 2
local found, n = {{}}, 0
while at < {BUCKETS} and n < most do
  local first, second = floor(at / 256) * 16 + part, at % 256
  local entries, head = redis.call('HGETALL', bucket(base, first, second)), string.char(first, second)
  for i = 1, #entries, 2 do
    found[n + 1], found[n + 2] = head .. entries[i], entries[i + 1]
    n = n + 2
  end
  at = at + 1
end
return {{at, found}}
"""
)
"""tag, partition, bucket, at most → the next bucket, and keys with their records."""

PURGE = Script(
    COMMON
    + _RECORDS
    + f"""
local base, part, at = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, limit = tonumber(ARGV[4]), struct.unpack('<d', ARGV[5])
local looked, dropped = 0, 0
while at < {BUCKETS} and looked < 2000 and dropped < most do
  local name = bucket(base, floor(at / 256) * 16 + part, at % 256)
  local gone, there = drop_ended(name, limit)
  looked, dropped = looked + 1 + there, dropped + gone
  at = at + 1
end
if dropped > 0 then redis.call('HINCRBY', base .. 'state', 'count', -dropped) end
return {{at, dropped}}
"""
)
"""tag, partition, bucket, at most, limit → the next bucket, and how many records went."""

HIT = Script(
    """
local now, window = struct.unpack('<d', ARGV[1]), struct.unpack('<d', ARGV[2])
local started, count = now, 0
local old = redis.call('GET', KEYS[1])
if old then
  local was = struct.unpack('<d', old)
  if was <= now and now < was + window then started, count = was, tonumber(string.sub(old, 9)) end
end
redis.call('SET', KEYS[1], struct.pack('<d', started) .. string.format('%.0f', count + 1), 'PX', ARGV[3])
return {struct.pack('<d', started), count + 1}
"""
)
"""now, window, milliseconds to keep → when it started, and the count."""
