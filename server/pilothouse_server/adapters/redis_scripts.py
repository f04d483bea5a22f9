"""What has to happen in a Redis at one moment, as scripts."""

from __future__ import annotations

from typing import Final

LOOK: Final = """
local known = {redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or ''}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'0-0', '', '0-0', known[1], known[2], 0, 0} end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local last, first, deleted, length = '0-0', '', '0-0', 0
for i = 1, #info, 2 do
  local name = info[i]
  if name == 'last-generated-id' then last = info[i + 1]
  elseif name == 'max-deleted-entry-id' then deleted = info[i + 1]
  elseif name == 'length' then length = info[i + 1]
  elseif name == 'first-entry' and info[i + 1] then first = info[i + 1][1] end
end
local there = 0
if ARGV[1] ~= '' then there = #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) end
return {last, first, deleted, known[1], known[2], length, there}
"""
"""KEYS stream, trimmed, followed. ARGV an id or "". What is known about a stream, without its entries' contents, and
whether it has that entry."""

IDS: Final = """
local ids = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[2], ARGV[1], 'COUNT', ARGV[3])) do
  ids[#ids + 1] = entry[1]
end
return ids
"""
"""KEYS stream. ARGV the first and the last id, how many at most. The newest ids between the two, newest first."""

DEAL: Final = """
local held = redis.call('GET', KEYS[1]) or ''
if held ~= ARGV[1] then return {0, held} end
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local key, id, cap, size = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local fields = {unpack(ARGV, at + 4, at + 3 + size)}
  at = at + 4 + size
  if id == '*' then redis.call('XADD', key, '*', unpack(fields))
  else
    local added = redis.pcall('XADD', key, 'MAXLEN', '~', cap, id, unpack(fields))
    if type(added) == 'table' and added.err and #redis.call('XRANGE', key, id, id) == 0 then
      redis.call('XADD', key, 'MAXLEN', '~', cap, '*', unpack(fields))
    end
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return {1, ARGV[2]}
"""
"""KEYS followed, streams that are written. ARGV expected, new, how many entries, and for each entry the number of its
key, its id, the most that are kept, how many fields and values, those. Moves the place up to which a stream is dealt
with, together with what was to be done for that: only from the place that the caller knows of."""

TRIM: Final = """
local removed = redis.call('XTRIM', KEYS[1], ARGV[1], '~', ARGV[2], 'LIMIT', ARGV[3])
if removed > 0 then
  local below = ARGV[4]
  if below == '' then
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
    below = first[1] and first[1][1] or ''
  end
  if below ~= '' then redis.call('SET', KEYS[2], below) end
end
return removed
"""
"""KEYS stream, trimmed. ARGV MINID or MAXLEN, the threshold, how many at most, and below which id entries may be gone
then ("": below the first that is left)."""

RETRY: Final = """
local asked = ARGV[2] ~= '' and redis.call('GET', KEYS[3])
if asked then return {2, asked} end
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return {0, ''} end
local fields = found[1][2]
local own = #fields - 4
if own > 1 and fields[own - 1] == 'truncated' then return {-1, ''} end
local added = redis.call('XADD', KEYS[2], '*', unpack(fields, 1, own))
redis.call('XDEL', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('SET', KEYS[3], ARGV[2] .. ' ' .. added, 'EX', ARGV[3]) end
return {1, added}
"""
"""KEYS dead, stream, what is known of the request. ARGV the id, what is asked ("" without a request id), how long
that is remembered in seconds. Puts an entry back as it was: what was added to it comes last."""

DROP: Final = """
local asked = ARGV[2] ~= '' and redis.call('GET', KEYS[2])
if asked then return {2, asked} end
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return {0, ''} end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2] .. ' -', 'EX', ARGV[3]) end
return {1, ''}
"""
"""KEYS dead, what is known of the request. ARGV as for RETRY."""
