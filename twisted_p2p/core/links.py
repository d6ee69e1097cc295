"""Connections: the handshake that proves a peer's key, pings with deadlines, and how links end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import attrs

from twisted_p2p.core import wire
from twisted_p2p.core.access import Access, Objection, Role, admission
from twisted_p2p.core.actions import Dial, Hangup, Pause, Reason, Refused
from twisted_p2p.core.arrivals import Arrivals
from twisted_p2p.core.conduct import Conduct
from twisted_p2p.core.dials import Dials
from twisted_p2p.core.link import Address, Attempt, Link, Purpose
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.pace import Pace
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Bye, Frame, Hello, Ping, Pong, Proof, Record
from twisted_p2p.interfaces import ISigner, IVerifier

IS_THERE = (Reason.TOO_MANY, Reason.LEAVING, Reason.BANNED, Reason.WRONG_CLOCK)
"""Whoever ends a link so before it is open is there, though not for us."""
_LITTLE = 4_096
"""Bytes to and from a link since it last answered a ping: with no more than that it is left to the other end to ask."""
_LEFT_TO_IT = 2.0
"""For how long since that answer, in ping intervals: who asks all the time, and answers nothing, is found out."""


@attrs.define(eq=False)
class Links:
    """All links and dials of one core."""

    turn: Turn
    network: str
    membership: Membership
    signer: ISigner
    verifier: IVerifier
    arrivals: Arrivals
    conduct: Conduct
    has_baseline: Callable[[], bool]
    on_open: Callable[[Link], None]
    on_lost: Callable[[Link, Reason], None]
    on_dial_failed: Callable[[Attempt, Reason], None]
    access: Access
    by_id: dict[int, Link] = attrs.field(factory=dict)
    own_addresses: dict[Address, None] = attrs.field(factory=dict)
    """Addresses that turned out to be our own."""
    dials: Dials = attrs.field(init=False)
    _dialling: dict[Address, str] = attrs.field(factory=dict)
    """Addresses that others told us and that are being dialled, and whom we expect there."""
    _in_vain: dict[Address, tuple[float, float, bool]] = attrs.field(factory=dict)
    """Such addresses at which whom we expected was not found, or not admitted: until when they are left alone, how long
    that is, and whether we were answered."""
    _is_crowded: bool = False
    """More may wait for slow readers than before."""
    _stuck: list[Link] = attrs.field(factory=list)
    """Links for which more waits than may wait for one."""
    _attempts: dict[int, Attempt] = attrs.field(factory=dict)
    _ids: count[int] = attrs.field(factory=lambda: count(1))

    def __attrs_post_init__(self) -> None:
        self.dials = Dials(self.turn, lambda: self.membership.own.ip_addr)

    # --- connecting

    def may_dial(self, record: Record) -> bool:
        """Whether a peer's address is to be dialled now: not twice at once, nor soon after it was in vain.

        It makes no difference who is said to be there: nobody can make us dial one address, or one address range, again
        and again.
        """
        address = (record.ip_addr, record.port)
        until, _, _ = self._in_vain.get(address, (0.0, 0.0, False))
        is_idle = address not in self._dialling and until <= self.turn.now
        return is_idle and self.may_meet(record) and self.dials.may(record.ip_addr)

    def may_meet(self, record: Record) -> bool:
        """Whether our lists may let this peer in. If not we do not dial it, nor judge whether it is there."""
        return self.access.may_meet(record.peer, record.ip_addr)

    def was_in_vain(self, record: Record) -> bool:
        """Whether a peer's address was dialled in vain not long ago, and nobody was there who only did not admit us."""
        until, _, has_answered = self._in_vain.get((record.ip_addr, record.port), (0.0, 0.0, False))
        return until > self.turn.now and not has_answered

    def is_dialling(self, record: Record) -> bool:
        """Whether this very peer is being dialled at its address."""
        return self._dialling.get((record.ip_addr, record.port)) == record.peer

    @property
    def is_dialling_any(self) -> bool:
        """Whether any peer is being dialled that others told us of."""
        return bool(self._dialling)

    def _dialled(self, attempt: Attempt, found: bool, has_answered: bool = False) -> None:
        """Pauses double as long as an address is tried again and again; one that is not tried any more is forgotten."""
        if not attempt.peer:
            return
        self._dialling.pop(attempt.address, None)
        if found or has_answered:
            self.dials.found(attempt.address[0])
        now, config = self.turn.now, self.turn.config
        kept = {address: pause for address, pause in self._in_vain.items() if now < pause[0] + config.redial_max}
        _, before, _ = kept.pop(attempt.address, (0.0, config.redial_first / 2, False))
        if not (found or self.turn.health.stood_still_since(attempt.began)):
            pause = min(2 * before, config.redial_max)
            kept[attempt.address] = now + pause, pause, has_answered
        self._in_vain = kept

    def dial(self, purpose: Purpose, address: Address, peer: str = "") -> None:
        """Connect to `address`; ends in `on_open`, `on_lost` or `on_dial_failed`.

        Args:
            peer: who is expected there; "" for an address that our own user has told us.
        """
        attempt = Attempt(purpose, address, peer, self.turn.now)
        if not (peer or self.access.may_meet("", address[0])):
            self.on_dial_failed(attempt, Reason.NOT_ADMITTED)
            return
        number = next(self._ids)
        self._attempts[number] = attempt
        if peer:
            self._dialling[address] = peer
            self.dials.begun(address[0])
        if peer and not self.dials.is_sense(address[0]):
            self.turn.timers.after(0.0, lambda: self.dial_failed(number, Reason.UNREACHABLE))
            return
        self.turn.connect(Dial(number, *address, self.turn.config.dial_timeout))

    def dial_failed(self, dial: int, reason: Reason) -> None:
        """The shell could not connect."""
        attempt = self._attempts.pop(dial, None)
        if attempt is not None:
            self._dialled(attempt, found=reason is Reason.NO_RESOURCES)
            self.on_dial_failed(attempt, reason)

    def up(self, number: int, dial: int | None, host: str, proves: bool) -> None:
        """The shell has a new connection, which it knows by `number`, with this host at its other end."""
        attempt = Attempt(Purpose.INBOUND, ("", 0)) if dial is None else self._attempts.pop(dial)
        link = Link(number, attempt, f"{self.turn.rng.getrandbits(128):032x}", host)
        self.by_id[number] = link
        why = self._rule_objection(link)
        if why is not None:
            self._refuse(link, why)
            return
        if dial is None and not self._let_in(link):
            return
        link._deadline = self.turn.timers.after(
            self.turn.config.handshake_timeout, lambda: self.hang_up(link, Reason.HANDSHAKE_TIMEOUT), judges=True
        )
        if dial is not None and not proves:
            self._send_hello(link)

    def _let_in(self, link: Link) -> bool:
        """Whether a connection of somebody else's may stay. Who is sent away unheard costs us nothing more."""
        if self.conduct.is_banned(link.host) or self.arrivals.is_too_often(link.host):
            self.turn.counts["arrivals_refused"] += 1
            del self.by_id[link.id]
            self.turn.connect(Hangup(link.id, Reason.TOO_MANY, abort=True))
            return False
        surplus = self.arrivals.came(link)
        if surplus is None and len(self.by_id) > self.turn.config.max_links:
            surplus = self.arrivals.make_room(link)
        if surplus is not None:
            self.hang_up(surplus, Reason.TOO_MANY)
        return surplus is not link

    def end_banned(self) -> None:
        """Nobody who is banned keeps a link."""
        for link in [*self.by_id.values()]:
            if self.conduct.is_banned(link.peer) or self.conduct.is_banned(link.host):
                self.hang_up(link, Reason.BANNED)

    def secured(self, number: int, peer: str, binding: bytes) -> None:
        """The connection has proven who is at its other end; without an id: that it is nobody whom we know."""
        link = self.by_id.get(number)
        if link is None:
            return
        if not peer or (self.access.keys and not binding):
            self.hang_up(link, Reason.NO_TLS)
            return
        link.proven, link._binding = peer, f"exporter {binding.hex()}"
        if link.purpose is Purpose.INBOUND:
            if self.conduct.is_banned(peer):
                self.hang_up(link, Reason.BANNED)
            return
        why = self.access.listed_against(peer, link.host) if peer != self.signer.peer else None
        if why is not None:
            self._refuse(link, why)
        else:
            self._send_hello(link)

    def down(self, number: int, reason: Reason) -> None:
        """The shell lost a connection."""
        link = self.by_id.get(number)
        if link is not None:
            self._forget(link, reason)

    # --- sending and ending

    def send(self, link: Link, frame: Frame) -> None:
        """Write one control frame; to a link that has ended, nothing.

        No link ends here, so that whoever goes through the links may send to each. One that does not read does so soon.
        """
        if link.end is not None:
            return
        line = wire.encode(frame)
        link._unread += len(line)
        self._is_crowded |= link._unread > self.turn.config.burst
        if link._unread > self.turn.config.control_max:
            self._stuck.append(link)
        else:
            self.turn.write(link.id, line)

    def relieve(self) -> None:
        """End the links for which more waits than there may; of all that read too slowly the one with the most."""
        stuck, self._stuck = self._stuck, []
        for link in stuck:
            self.hang_up(link, Reason.STUCK)
        while self._is_crowded:
            slow = [link for link in self.by_id.values() if link.congested]
            self._is_crowded = sum(link._unread for link in slow) > self.turn.config.control_total
            if self._is_crowded:
                self.hang_up(max(slow, key=lambda link: link._unread), Reason.STUCK)

    def hang_up(self, link: Link, reason: Reason) -> None:
        """End a link, telling the other end why."""
        if link.end is not None:
            return
        self.conduct.ended(link, reason)
        silent = reason in (Reason.PING_TIMEOUT, Reason.STUCK)
        if not silent:
            self.send(link, Bye(reason.value))
        self.turn.connect(Hangup(link.id, reason, abort=silent))
        self._forget(link, reason)

    def closed_by_peer(self, link: Link, reason: Reason) -> None:
        """The other end has said that it ends the link."""
        if reason is Reason.NOT_ADMITTED:
            self.turn.tell(Refused(link.proven or link.peer or link.attempt.peer, link.host, Objection.REFUSES_US))
        self.turn.connect(Hangup(link.id, reason))
        self._forget(link, reason)

    def _forget(self, link: Link, reason: Reason) -> None:
        if self.by_id.pop(link.id, None) is None:
            return
        link.end = reason
        self.arrivals.gone(link)
        if not link.is_open:
            self._dialled(link.attempt, found=reason in IS_THERE, has_answered=link.has_answered(reason))
        if reason is Reason.OWN_ADDRESS and link.purpose is not Purpose.INBOUND:
            self.own_addresses[link.attempt.address] = None
        self.turn.counts[f"link_end_{reason.value}"] += 1
        for timer in (link._deadline, link._ping, link._linger):
            if timer is not None:
                timer.cancel()
        self.on_lost(link, reason)

    # --- the handshake

    def _send_hello(self, link: Link) -> None:
        record = self.membership.own
        is_sample = self.membership.is_sample
        proof = self._admission(link) if link.proven else ""
        self.send(link, Hello(wire.VERSION, self.network, record, link.nonce, self.has_baseline(), is_sample, proof))

    def hello(self, link: Link, frame: Hello) -> None:
        """The other end has introduced itself."""
        why = self._objection(link, frame)
        if isinstance(why, Objection):
            self._refuse(link, why, frame.record.peer)
            return
        if why is not None:
            self.hang_up(link, why)
            return
        link.peer, link.record, link._their_nonce = frame.record.peer, frame.record, frame.nonce
        link.baseline = frame.baseline
        if link.purpose is Purpose.INBOUND:
            self._send_hello(link)
        if link.proven:
            self._open(link)
        elif link.purpose is not Purpose.INBOUND or not self.access.keys:
            self._send_proof(link)

    def _send_proof(self, link: Link) -> None:
        data = wire.proof_bytes(self.network, self.signer.peer, link.peer, link._their_nonce, link.nonce)
        self.send(link, Proof(self.signer.sign(data), self._admission(link)))

    def _objection(self, link: Link, frame: Hello) -> Reason | Objection | None:
        if link.peer:
            return Reason.BAD_FRAME
        if frame.version != wire.VERSION:
            return Reason.WRONG_VERSION
        if frame.network != self.network:
            return Reason.WRONG_NETWORK
        if frame.record.peer == self.signer.peer:
            return Reason.OWN_ADDRESS
        record = frame.record
        why = self._key_objection(link, link.proven, frame.admission) if link.proven else None
        why = why or self.access.listed_against(link.proven or record.peer, link.host)
        if why is not None:
            return why
        if frame.sample != self.membership.is_sample:
            return Reason.OTHER_DIRECTORY
        if self.membership.is_ahead(record.incarnation):
            return Reason.WRONG_CLOCK
        is_another = link.proven not in ("", record.peer)
        if is_another or not self.verifier.verify(record.peer, record.signed_bytes(self.network), record.sig):
            return Reason.BAD_SIGNATURE
        if link.purpose is Purpose.INBOUND and self.conduct.is_banned(record.peer):
            return Reason.BANNED
        return None

    def proof(self, link: Link, frame: Proof) -> None:
        """The other end proves that it holds its key; from now on the link is open."""
        if not link.peer or link.is_open:
            self.hang_up(link, Reason.BAD_FRAME)
            return
        data = wire.proof_bytes(self.network, link.peer, self.signer.peer, link.nonce, link._their_nonce)
        if not self.verifier.verify(link.peer, data, frame.sig):
            self.hang_up(link, Reason.BAD_SIGNATURE)
            return
        why = self._key_objection(link, link.peer, frame.admission)
        if why is not None:
            self._refuse(link, why)
            return
        if link.purpose is Purpose.INBOUND and self.access.keys:
            self._send_proof(link)
        self._open(link)

    # --- who is admitted

    def _admission(self, link: Link) -> str:
        """Our proof for this link: by the key that the other end has proven, or by our first where we come first."""
        key = link.key or next(iter(self.access.keys), b"")
        role = Role.DIALLED if link.purpose is Purpose.INBOUND else Role.DIALLER
        return admission(key, role, self.signer.peer, link.proven or link.peer, link.binding) if key else ""

    def _key_objection(self, link: Link, peer: str, proof: str) -> Objection | None:
        """What is wrong with the other end's proof that it has a key of the network."""
        role = Role.DIALLER if link.purpose is Purpose.INBOUND else Role.DIALLED
        key = self.access.proven_key(proof, role, peer, self.signer.peer, link.binding)
        if isinstance(key, Objection):
            return key
        link.key = key
        return None

    def _refuse(self, link: Link, why: Objection, peer: str = "") -> None:
        """Do not admit the other end. What it is told is the same whatever the reason; our own user hears more."""
        if link.end is None:
            self.turn.tell(Refused(link.proven or link.peer or peer, link.host, why))
            self.hang_up(link, Reason.NOT_ADMITTED)

    def admit(self, access: Access) -> None:
        """Go by these rules from now on, and end the links that they do not admit."""
        self.access, self._in_vain = access, {}
        for link in list(self.by_id.values()):
            why = self._rule_objection(link)
            if why is not None:
                self._refuse(link, why)

    def _rule_objection(self, link: Link) -> Objection | None:
        """What our rules have against a link, as far as is known who is at its other end."""
        peer = link.proven or link.peer
        if not (peer or self.access.may_meet("", link.host)):
            return self.access.listed_against("", link.host)
        why = self.access.listed_against(peer, link.host) if peer else None
        if why is None and link.is_open and not self.access.accepts_key(link.key):
            if not self.access.keys:
                return Objection.KEY_UNWANTED
            return Objection.KEY_RETIRED if link.key else Objection.NO_KEY
        return why

    def _open(self, link: Link) -> None:
        link.is_open = True
        self.arrivals.opened(link)
        self._dialled(link.attempt, found=link.attempt.peer == link.peer)
        if link._deadline is not None:
            link._deadline.cancel()
        link._deadline = None
        if link.baseline and link.record is not None:
            self.membership.merge([link.record])
        self._ping_later(link)
        link._linger = self.turn.timers.after(self.turn.config.linger, lambda: self._end_idle(link))
        self.on_open(link)

    def _end_idle(self, link: Link) -> None:
        if link.end is None and not link.is_neighbour:
            self.hang_up(link, Reason.DONE)

    # --- watching

    def ping(self, link: Link, on_pong: Callable[[], None] | None = None) -> None:
        """Ask for a sign of life. `on_pong` is called once all that was written before has been worked through."""
        if link.end is not None:
            return
        link._pinged += 1
        if on_pong is not None:
            link._on_pong[link._pinged] = on_pong
        self.send(link, Ping(link._pinged))
        if link._ping is not None:
            link._ping.cancel()
            link._ping = None
        if link._deadline is None:
            link._heard, link._was_congested = False, link.congested
            self._await_pong(link, self.turn.config.ping_timeout)

    def _ping_later(self, link: Link) -> None:
        delay = self.turn.jitter(self.turn.config.ping_interval)
        link._ping = self.turn.timers.after(delay, lambda: self.ping(link))

    def pinged(self, link: Link, frame: Ping) -> None:
        """The other end asks for a sign of life, and so gives one: on an idle link one of the two needs to ask."""
        self.send(link, Pong(frame.n))
        is_idle = link._unread + link.payload <= _LITTLE
        answered = self.turn.now - link.answered_at <= _LEFT_TO_IT * self.turn.config.ping_interval
        if link._ping is not None and is_idle and answered:
            link._ping.cancel()
            self._ping_later(link)

    def _await_pong(self, link: Link, waited: float) -> None:
        def judge() -> None:
            """Who has much to read, and still talks, is slow rather than dead: our ping waits behind the bundles."""
            if link.rests_until + self.turn.config.ping_timeout > self.turn.now:
                self._await_pong(link, waited)  # its answer may wait to be read
                return
            is_busy = link._was_congested or link.payload > self.turn.config.burst
            if is_busy and link._heard and waited < self.turn.config.paused_timeout:
                link._heard = False
                link._pinged += 1
                self.send(link, Ping(link._pinged))
                self._await_pong(link, waited + self.turn.config.ping_timeout)
            else:
                self.hang_up(link, Reason.STUCK if is_busy else Reason.PING_TIMEOUT)

        link._deadline = self.turn.timers.after(self.turn.config.ping_timeout, judge, judges=True)

    def pong(self, link: Link, frame: Pong) -> None:
        """An answer; one to no question of ours counts for nothing."""
        if not link._answered < frame.n <= link._pinged:
            self.turn.counts["pong_unasked"] += 1
            return
        for n in range(link._answered + 1, frame.n + 1):
            call = link._on_pong.pop(n, None)
            if call is not None:
                call()
        link._answered, link.answered_at = frame.n, self.turn.now
        if link.end is None:
            link._unread = link.payload = 0
            if link._deadline is not None:
                link._deadline.cancel()
                link._deadline = None
            if link._ping is None:
                self._ping_later(link)

    def heard(self, link: Link, lines: Sequence[bytes]) -> None:
        """These lines arrived. If they are too many, the next ones are read later."""
        size, now = sum(map(len, lines)), self.turn.now
        link._heard = True
        link.payload += size
        if link.pace is None:
            link.pace = Pace.of(self.turn.config, now)
        control = [line for line in lines if not line.startswith(wire.BUNDLE)]
        weight = 1 if link.is_neighbour else self.turn.config.stranger_weight
        rest = link.pace.read(len(lines), size, now)
        if control:
            rest = max(rest, link.pace.control(weight * len(control), weight * sum(map(len, control)), now))
        if rest:
            self.turn.counts["pauses"] += 1
            link.rests_until = now + rest
            self.turn.connect(Pause(link.id, rest))

    def is_too_much(self, link: Link, frame: Frame | None) -> bool:
        """Whether this frame, which has come from it, is one too many: then the link is ended."""
        is_flooding = link.pace is not None and link.pace.is_flooding(frame, self.turn.now)
        if is_flooding:
            self.hang_up(link, Reason.FLOODING)
        return is_flooding

    def set_congested(self, link: Link, congested: bool) -> None:
        """The shell says whether more can be written."""
        link.congested = congested
        link._was_congested |= congested
        self._is_crowded |= congested
