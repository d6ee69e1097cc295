"""Settings, each with its unit and reason; whole profiles rather than loose knobs.

The profiles differ in time-outs alone: LAN is the default, WAN waits longer, TEST is for tests in real time.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Config:
    """How one peer behaves. Durations are seconds, sizes are bytes."""

    # --- overlay: HyParView (Leitao et al., DSN 2007), with the directory as passive view
    active_target: int = 4
    """Neighbours that a peer looks for. Paper, section 5.1: log10(N) + 1; so many up to 1,000 peers, one more for each
    tenfold, as far as a peer knows."""
    active_max: int = 8
    """Neighbours that a peer accepts; the room above the target is what newcomers find. Two more for each tenfold."""
    active_drawn: int = 3
    """Neighbours of these, so many up to 1,000 peers, one more for each tenfold, that a peer has asked itself, in
    different address ranges or drawn by range, as long as it knows more than one range. One less than the target: who
    fills all else still leaves each peer three ways out, and three each connect any number of peers. 0: ranges do not
    count."""
    displacements_burst: int = 20
    displacements_interval: float = 1.0
    """Urgent requests of one foreign /16 of IPv4 or /32 of IPv6, where that has most of our neighbours already, for
    which one of those has to go: so many at once, then one each interval. Each costs some milliseconds of both."""
    refill_interval: float = 1.0
    """Between attempts to reach the target. A guess: a few round trips."""
    refused_pause: float = 5.0
    """Before a peer that refused, or could not be reached, is asked again."""
    fault_pause: float = 15.0
    """The same for a peer that broke the rules: it will hardly keep them a moment later. Long enough to make a loop of
    it cheap, short enough for two who have just each other."""

    bridges_burst: int = 3
    bridges_interval: float = 10.0
    """Requests to be the neighbour of one from whom we are found to be split: so many at once, then one each interval.
    A few heal any split, since everybody makes them; each costs somebody a neighbour, who is to serve us meanwhile."""

    # --- a sample of the network, in place of all of it
    max_known: int = 0
    """Peers of whom a peer knows; the directory is then a sample. 0: everybody. Peers of both kinds do not mix."""
    shuffle_interval: float = 10.0
    """Between exchanges of samples. HyParView's cycle."""
    shuffle_active: int = 3
    shuffle_passive: int = 4
    """Neighbours, and other peers, in such an exchange. Paper, section 5.1: ka and kp."""
    shuffle_hops: int = 6
    """Of the walk to whom they are exchanged with. Paper, section 5.1: the active random walk length."""
    walks_burst: int = 20
    walks_interval: float = 1.0
    """Walks that one neighbour may send here: so many at once, then one each interval. About one in eight seconds is
    usual: each peer's walk has six hops, and a peer four neighbours."""

    # --- links
    handshake_timeout: float = 5.0
    """From the connection to the proof of key. Within it a stopped process must be told from a slow one."""
    dial_timeout: float = 4.0
    """For a connection to be made; the operating system's own limit is minutes."""
    redial_first: float = 2.0
    redial_max: float = 30.0
    """Before an address that others told us is dialled again if it was in vain, whoever names it: doubles from first to
    max. Two tries fit into `suspicion_timeout`: who has nobody to ask needs two to declare a peer failed."""
    vain_dials_burst: int = 20
    vain_dials_interval: float = 5.0
    """Dials to one /24 of IPv4 or /64 of IPv6, other than our own, that others told us of and that do not find whom we
    expect there: so many at once, then one each interval. Who probes one peer every two seconds has fewer, even where a
    third of the others has died."""
    vain_dials_total_burst: int = 200
    vain_dials_total_interval: float = 0.1
    """The same of all such ranges together. Who has lost everybody else asks twenty a second for a neighbour."""
    linger: float = 15.0
    """How long an open link without a purpose stays: a join needs a few questions on one."""
    ping_interval: float = 2.0
    ping_timeout: float = 6.0
    """Without an answer for so long a link is dead. SWIM's period times three: one lost round is no death."""
    paused_timeout: float = 120.0
    """How long a neighbour may take nothing while it still talks; then the link is given up."""
    max_links: int = 1000
    """Connections of all kinds at once. For a further one that somebody makes to us another one of theirs is ended."""
    max_links_host: int = 64
    max_links_group: int = 256
    """The same from one IP address, and from one /24 of IPv4 or /64 of IPv6; this machine aside. A peer behind one
    address with many others, as in an office, has a few links to each of its peers."""
    max_handshakes: int = 128
    """Connections of others that have not proven their key yet. It takes milliseconds: who waits longest goes first."""
    arrivals_burst: int = 1_000
    arrivals_interval: float = 0.1
    """Connections that one address, other than this machine's, may make to us: so many at once, then one each interval.
    A peer is dialled by each of the others now and then, and hundreds may start at once behind one router: who is
    sent away takes us for dead. Ten handshakes a second take some hundredths of a core."""

    # --- what a link may send
    lines_burst: int = 20_000
    lines_rate: float = 10_000.0
    bytes_burst: int = 134_217_728
    bytes_rate: float = 67_108_864.0
    """Lines and bytes that are read from one link: so many at once, then so many a second; who sends faster is read
    from more slowly. What a core can check in a second, and what one link carries in these figures' machine."""
    control_burst: int = 20_000
    control_rate: float = 1_000.0
    control_bytes_burst: int = 16_777_216
    control_bytes_rate: float = 262_144.0
    """The same for all lines but bundles; of one that is no neighbour each counts as `stranger_weight`. One takes some
    10 us. At most 60 in a second were seen among 50 peers, but a join of 1,000 is one for each, who asks for thousands
    of streams that are gone is told of each, and 100,000 positions are 9 MB."""
    stranger_weight: int = 10
    requests_burst: int = 2_000
    requests_rate: float = 20.0
    """Frames that a peer sends for itself, of one link: over it the link is ended. A peer that suspects hundreds at
    once asks about each."""
    served_burst: int = 2_000_000
    served_rate: float = 1_000.0
    """Bundles that one peer may ask for, and then again; so many at once, then so many a second: twice all that a log
    holds, so that whoever needs everything may ask anew once it is in the middle of it."""

    # --- those who break the rules
    penalty_half_life: float = 600.0
    """After which an offence counts half as much. A guess: the third in a few minutes is no accident."""
    ban_time: float = 600.0
    ban_max: float = 86_400.0
    """How long the first ban lasts, and the longest: each is twice as long as the one before, if that is not longer ago
    than the longest lasts."""
    bans_max: int = 1_000
    penalties_max: int = 10_000
    """Peers and addresses that are banned, or have a penalty, at once; of bans the one that ends first gives way, of
    penalties the eldest."""

    # --- failure detection: SWIM (DSN 2002) with Lifeguard's restraint
    probe_interval: float = 2.0
    """One directory entry, drawn uniformly, is dialled so often. A peer is then probed about once an interval."""
    departed_probe_interval: float = 10.0
    """The same for departed peers and for genesis addresses at which nobody is known to live."""
    departed_keep: float = 86_400.0
    """How long a departed peer is remembered: a day, so that a long partition heals by itself."""
    probe_timeout: float = 1.0
    """A probe that takes longer makes a suspicion: others are asked meanwhile. Hundreds of round trips on a LAN."""
    suspicion_timeout: float = 6.0
    """From a suspicion to the claim: time for the witnesses' own dials to fail, and for the suspect to come back."""
    witnesses: int = 3
    """Neighbours asked about a suspect. SWIM's k; 3 makes one deaf witness harmless."""
    stall: float = 1.0
    """A timer that fires later than this means that we stood still, and nobody is judged by that time."""
    health_max: int = 8
    """Who is slow itself judges others by time-outs that are longer by up to so many times. Lifeguard's S, with which
    its false positives become fifty times rarer."""

    clock_ahead: float = 86_400.0
    """How far ahead of our clock what others say may be. Two clocks that differ by a day were never set, or wrongly;
    who has one in such a future would go before the truth until then."""

    # --- joining
    retry_first: float = 0.5
    retry_max: float = 5.0
    """Back-off between attempts to join: doubles from first to max, times a random factor from 0.5 to 1.5."""

    # --- broadcast
    bundle_bytes: int = attrs.field(default=32_768, validator=attrs.validators.le(32_768))
    """Where a turn's messages are cut into bundles: one signature is a few per cent of the cost of relaying so much.
    Not more than this: a bundle of more than `wire.MESSAGES_MAX` messages would lose some."""
    line_max: int = 1_048_576
    """The longest line, without its newline, in either direction."""
    hello_max: int = 4_096
    """What is kept of an unfinished line of somebody who has not introduced himself: three times the longest #HELLO."""
    message_max: int = 262_144
    """The longest message, as JSON, with 120 bytes for what travels with it."""
    burst: int = 65_536
    """Payload written to one link in one turn; the rest follows in the next, so that pings get through."""
    prune_interval: float = 1.0
    """From one witness of the tree to the next."""
    prune_delay: float = 0.2
    """From a witness to the PRUNEs that follow from it: by then it, and any better one, has reached everybody."""
    reference_keep: float = 3.0
    """How long an origin that says nothing more stays the one whose bundles are witnesses. A few times as long as from
    one to the next."""
    frontier_interval: float = 0.1
    """Lazy links are told so often what moved. Below the graft time-out, or that would start late."""
    graft_timeout: float = 1.0
    """Who stays behind for so long asks another link; from a quarter to eight times as long once it is measured."""
    gap_patience: float = 20.0
    """How long others are asked, the origin first, before what no neighbour holds is given up as a gap."""
    grafts_again: int = 3
    grafts_again_interval: float = 30.0
    """How often a link may ask for what it was sent already, of one stream: so often at once, then once an interval.
    On a connection nothing is lost, but what was held back may be dropped. GossipSub's 3 retransmissions."""
    grafts_refused: int = 100
    """Requests over that, so many at once, and then one an interval; one more ends the link."""
    promises_max: float = 5.0
    promises_decay: float = 60.0
    """A neighbour that has told of bundles, and sends none within `ping_timeout` of being asked, has broken a promise;
    at so many it is left. Each that it keeps makes up for one, and so does such a time. A guess: half a minute of
    nothing but broken ones, while one that is just slow answers some."""
    sync_interval: float = 5.0
    """Between comparisons of digests with a neighbour; bounds the delay after a mass failure."""
    early_max: int = 1_000
    early_bytes: int = 8_388_608
    """What is held back, of all streams together, while elder bundles may still come."""
    max_streams: int = 100_000
    """Positions kept. Over it bundles of unknown streams are dropped and counted."""
    max_epochs: int = 100
    """Streams of one origin. It begins one each time it loses its log, or its end; over the bound they are dropped and
    counted. Those before the newest half are forgotten once they have rested for twice the retention's age."""
    max_wants: int = 10_000
    """Streams that are asked for at once; the others wait for the next comparison."""
    max_peers: int = 20_000
    """Directory entries kept. Over it unknown peers are not admitted, and counted."""
    facts_burst: int = 100
    facts_interval: float = 1.0
    """Accusations by one peer, and new records of one: so many at once, then one each interval. In a mass failure of
    hundreds each survivor finds a few of the dead; who probes one peer every two seconds accuses no more often."""
    own_records_burst: int = 3
    own_records_interval: float = 60.0
    """Records of ours that we have not made, and answer: another process has our key, and answers each of ours. A
    guess: a restart with a clock that was wrong needs one answer, two processes are not to tell everybody for ever."""
    introductions_burst: int = 1_000
    introductions_interval: float = 1.0
    """The same for unknown peers of which one neighbour tells, and for streams of such peers of which it brings the
    first bundle, or which we ask for on its word. Bitcoin's burst; a thousand may join at once."""
    histories_burst: int = 5
    histories_interval: float = 2.0
    """Newcomers for whom it is looked up where their history begins: so many at once, then one each interval. In a log
    of a million bundles that takes half a second, and it was asked for in a hundred bytes."""
    page: int = 300
    """Directory entries or positions in one frame: some 100 KiB, and below `line_max` whatever the entries hold."""
    control_max: int = 33_554_432
    """Answers and facts written to a link since it last answered a ping; over it the other end does not read."""
    control_total: int = 134_217_728
    """The same of all links together that take no more at the moment; over it the one with the most is ended."""
    leave_timeout: float = 3.0
    """How long leaving waits for one neighbour to have everything."""
    leave_linger: float = 0.1
    """How long a leaver still answers once a neighbour knows, while the news spreads."""

    # --- the log
    retention_age: float = 43_200.0
    retention_count: int = 1_000_000
    retention_bytes: int = 268_435_456
    """Bundles kept for those who come back: by age since arrival, number, and size, of all streams together."""
    retention_share: float = 0.5
    """Of number and size, for one origin. When the log is full, who has more pays first: so nobody can push out what
    all others have said, and one who alone says much may have nearly all. Half: no two can be over it at once."""


LAN = Config()
"""For peers within a few milliseconds; a dead peer is declared failed within 30 s."""

WAN = Config(
    ping_interval=5.0,
    ping_timeout=15.0,
    handshake_timeout=10.0,
    dial_timeout=8.0,
    probe_interval=5.0,
    departed_probe_interval=30.0,
    probe_timeout=3.0,
    suspicion_timeout=12.0,
    prune_interval=3.0,
    reference_keep=9.0,
    prune_delay=1.0,
    frontier_interval=0.3,
    graft_timeout=3.0,
    gap_patience=60.0,
    leave_linger=0.5,
)
"""For peers across the Internet."""

TEST = Config(
    refill_interval=0.1,
    refused_pause=0.5,
    fault_pause=2.0,
    handshake_timeout=2.0,
    dial_timeout=1.0,
    redial_first=0.2,
    redial_max=2.0,
    linger=2.0,
    ping_interval=0.4,
    ping_timeout=1.6,
    probe_interval=0.3,
    departed_probe_interval=0.5,
    probe_timeout=0.2,
    suspicion_timeout=0.5,
    retry_first=0.1,
    retry_max=0.5,
    prune_interval=0.3,
    prune_delay=0.1,
    frontier_interval=0.05,
    graft_timeout=0.3,
    gap_patience=3.0,
    sync_interval=0.5,
    leave_linger=0.05,
)
"""For live tests on one machine: everything happens within a second or two."""
