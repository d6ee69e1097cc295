"""Makes `twistd p2p` known. Imports nothing of ours: `twisted_p2p.tap` is loaded when `p2p` is chosen."""

from twisted.application.service import ServiceMaker

p2p = ServiceMaker("p2p", "twisted_p2p.tap", "A peer of a network where each broadcast reaches all.", "p2p")
