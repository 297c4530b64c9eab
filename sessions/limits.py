"""Every bound of the system, by name. Units stand last in the names; nothing here is a setting."""

from typing import Final

# On the wire
BODY_BYTES_MAX: Final = 256 * 1024
"""Of one request body, as sent and as inflated."""
EVENTS_PER_REQUEST_MAX: Final = 500
ID_CHARS_MAX: Final = 256
REPORTS_PER_REQUEST_MAX: Final = 500
REPORT_BYTES_MAX: Final = 8 * 1024
"""Of one record of a player that reports by itself."""
TEXT_CHARS_MAX: Final = 2_048
"""Of one descriptive text (a title, a page, a referrer)."""
OPAQUE_BYTES_MAX: Final = 8_192
"""Of what is kept unmeasured of one request (profile, vitals, farewell)."""
BODY_HOLDERS_MAX: Final = 16_384
"""Objects and lists in one request body: each costs a microsecond, wherever it lies."""
FREE_LEVELS_MAX: Final = 16
"""Of objects and lists inside each other in a free field, itself one of them."""
FREE_VALUES_MAX: Final = 4_096
"""Of one free field, whatever their level; objects and lists count as well as what is in them."""
LABEL_CHARS_MAX: Final = 128
"""Of one label value in a scrape; longer ones are cut."""

# What a player reports has a plausible range; outside it is unknown
BITRATE_BPS_MAX: Final = 1_000_000_000
LATENCY_US_MAX: Final = 3_600_000_000
PLAYER_COUNTER_MAX: Final = 1_000_000
"""Of stalls, switches, messages, and of seconds watched: eleven days."""
DVR_OFFSET_S_MAX: Final = 1_000_000

# One session
REORDER_WINDOW_S: Final = 60.0
"""How long, in the player's time, inputs stay sorted and provisional."""
WINDOW_INPUTS_MAX: Final = 128
"""Inputs kept in that window; past it the oldest are folded early. An overtaken input looks at all of them: 500 at once take 60 ms."""
WILD_AHEAD_S: Final = 60.0
"""A timestamp further ahead of its session's clock than this is wild."""
CLOCKS_AGREE_S: Final = 5.0
"""Inputs whose offsets differ by at most this much agree about their player's clock."""
CLOCK_SURE_AFTER_S: Final = 10.0
"""What inputs agree about for so long (server's time) is the player's clock: no delay, and no queue that is flushed."""
QUEUE_SPAN_S_MAX: Final = 86_400.0
"""How long a player is believed to have kept something back; what is older than that comes from another clock."""
SEEK_CAUSES_STALL_S: Final = 5.0
"""A stall that begins within this time of a dvr_seek was caused by it."""
SEEK_FOLLOWS_STALL_S: Final = 0.5
"""A stall that began at most so long before a dvr_seek was caused by it: players stall before they say that they seek."""
STALLED_AFTER_S: Final = 300.0
"""Who has waited for so long, without a frame, is watching no more."""
AD_BREAK_S_MAX: Final = 600.0
"""A break that was told to begin longer ago, with no advertisement begun since, is over: the end of it was lost on the way."""
VIEW_OVERTAKEN_S: Final = 5.0
"""A pixel's view that comes so soon after its play was overtaken by it on the way; a later one is a page that was loaded again."""
DVR_OFFSET_S_MIN: Final = 10.0
"""Who plays so far behind the live edge watches the past: its latency is no live latency."""
STARTUP_S_MAX: Final = 600.0
"""A longer time to the first frame is no startup, but somebody who went away, or a clock that was set."""
OUTCOME_AFTER_S: Final = 600.0
"""Who has been expired for so long does not come back from a pocket: how it went is counted then, and not again."""
FAILURE_AFTER_S: Final = 30.0
"""A fatal error that is not got over within this time is counted as a failure, by which somebody may be woken."""
INTERVAL_CAP_S_MAX: Final = 65_535
"""The most that one interval ever counts, whatever was promised: 18 hours, what fits the window."""
EVENT_IDS_MAX: Final = 1_024
"""Event ids remembered per session for deduplication."""
STORY_ENTRIES_MAX: Final = 48
"""What became of a session, told in its story; the first is always kept."""
STORY_INTERVALS_MAX: Final = 48
"""Intervals (a state each) that its story remembers."""
STORY_IGNORED_MAX: Final = 16
"""Ignored inputs that its story remembers one by one; all of them are counted."""
STREAMS_PER_WINDOW_MAX: Final = 200
"""Streams that one session may visit inside one reordering window; past it the window is folded early."""

# One session of a player that reports by itself
REPORTS_PENDING_MAX: Final = 96
"""Reports kept in their order until they are settled; past it the oldest are settled early. One is one or two inputs of the window."""
REPORT_CAP_S: Final = 900
"""The most that the time between two reports counts."""
REPORT_EXPIRY_S_MIN: Final = 90
"""A tab that is hidden and muted speaks once a minute."""
REPORT_EXPIRY_S_MAX: Final = 900
REPORT_RHYTHM_S: Final = 30
"""How often players report by themselves, unless they are told otherwise."""
REPORT_DISTANCES_MAX: Final = 8
"""Distances between posts that are remembered."""
REPORT_TARGETS_MAX: Final = 8
"""Targets of one player whose numbers are followed; past it those that were silent longest go."""
REPORT_GONE_S: Final = 15
"""A page that said last that it went into the background is gone if nothing comes for so long beyond its rhythm."""
REPORT_END_S: Final = 1.0
"""So long after a player said that it is over the session ends: what it said before may still be on its way."""
REPORT_LATENCY_US_MAX: Final = 120_000_000
"""A greater latency is the clock of the viewer's device."""

# One shard
SESSIONS_PER_SHARD_MAX: Final = 1_000_000
"""Remembered sessions (active, expired or ended) of posts."""
BEACON_SESSIONS_PER_SHARD_MAX: Final = 250_000
"""The same for pixels, which strangers can send."""
BEACON_BYTES_PER_SHARD_MAX: Final = 256 * 1024 * 1024
"""What strangers chose of those: ids, users and referrers."""
BEACON_REFERRER_CHARS_MAX: Final = 512
"""Of the referrer that a pixel says."""
BEACON_NETWORKS_MAX: Final = 65_536
"""Ranges of addresses whose new sessions are counted; past it those that were silent longest go."""
BEACON_SHARE: Final = 0.25
"""The part of the new sessions per minute (a setting) that pixels may open, in a token bucket of their own beside that of posts."""
GROUP_ITEMS_MAX: Final = 2_000
"""Requests in one commit; at least one batch, whatever its size."""
SHARD_WAITING_ITEMS_MAX: Final = 65_536
"""Requests of all replicas that wait in a shard; past it a batch is answered OVERLOADED."""
SHARD_WAITING_S_MAX: Final = 1.5
"""How long the oldest of them may have waited; past it what comes is answered OVERLOADED."""
STRETCH_MAX: Final = 4.0
"""How many times the configured heartbeat interval a shard promises under load (`actors/shard/lever.py`)."""
EXPIRIES_PER_COMMIT_MAX: Final = 500
"""Sessions that a shard expires, sums up and writes at one go: some 20 ms."""
RESTORES_PER_SLICE_MAX: Final = 500
"""Stored sessions decoded before the caller gets the thread back."""
WRITE_BACK_SESSIONS_MAX: Final = 2_000
"""Sessions in one commit of what a wiped journal gets back; at least one slot, whatever its size."""
SEARCHES_WAITING_MAX: Final = 8
"""Searches in one shard, the one under way among them; past it the next is answered 503."""
SEARCH_ROWS_MAX: Final = 200
"""Sessions in one answer of a search."""

OPEN_STREAMS_MAX: Final = 500
"""Streams that one slot's increments are kept apart by while they wait for the exporter; what further ones add goes to `other`."""

# On the way to a shard
BATCH_ITEMS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 90_000
"""Under Ray's inline limit of 100 KB."""
CHANNEL_FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one batch, or the answer to it, on a direct connection; a batch of one request may be larger than `BATCH_BYTES_MAX`."""
CHANNELS_PER_SHARD_MAX: Final = 1_024
"""Direct connections of replicas to one shard; past it the next is hung up on."""
WAITING_ITEMS_MAX: Final = 8_192
"""Requests of one replica that wait for one shard; past it they are shed with 503."""
WAITING_S_MAX: Final = 1.5
"""How long the oldest of them may have waited for a shard that answers; past it what comes is shed with 503."""
REQUEST_DEADLINE_S: Final = 10.0
OPEN_REQUESTS_MAX: Final = 4_096
"""Requests that one replica holds at a time, bodies in memory; past it they are shed with 503."""

# At the front door
REPLICA_REQUESTS_MAX: Final = 128
"""Requests that one HAProxy has under way in one replica; the others wait at the front door."""
FRONT_DOOR_WAITING_S_MAX: Final = 1
"""How long a request waits there for its turn; past it it is answered 503."""

# The journal
FINISHED_STREAM_MAX: Final = 100_000
"""Entries (about) kept in the stream of finished sessions."""

# Labels
STREAM_LABELS_MAX: Final = 1_000
OTHER_LABELS_MAX: Final = 100

# The exporter
SERIES_MAX: Final = 65_536
"""Series whose spelling is remembered: some 48 for each stream with a label, a thousand for all else, 35 for each shard, and room for
labels that come and go. 20 MB, if all are long. What is past it is spelled anew at every scrape."""
PEAKS_MAX: Final = 20_000
"""Streams whose all-time peak is remembered; past it those that nobody watches go, the smallest peaks first."""
REPLICAS_REMEMBERED_MAX: Final = 4_096
"""Ingest replicas whose last report number is remembered; the longest silent go first."""
LIVE_SECONDS_MAX: Final = 3_600
"""Seconds that the live page looks back."""
LIVE_STREAMS_MAX: Final = 50
"""Streams that it shows: the biggest."""
LIVE_SPARKS_MAX: Final = 120
"""Points of a stream's course on it: ten minutes."""

# Who watches the live page
LIVE_LISTENERS_MAX: Final = 256
"""Listeners of one replica; past it the next is answered 503."""
LIVE_MESSAGES_MAX: Final = 8
"""Messages that wait for one listener; past it it is dropped, and comes back if it can."""
