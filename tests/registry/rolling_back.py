"""A rollback with nobody to restart or tell, for the tests beside."""

from registries import Workplace
from stairways.live.rollback import RollbackOrder, RollbackOutcome, roll_back
from stairways.monitoring.pager import Delivery, FlushReport


class Nobody:
    """Restarts nothing, and reaches nobody."""

    def restart(self) -> str:
        return "restarted"

    def stop(self) -> str:
        return "stopped"

    def send(self, page: object) -> Delivery:
        return Delivery("delivered", "key", attempts=1, seconds=0.0)

    def flush(self) -> FlushReport:
        return FlushReport()


def rolled_back(place: Workplace, failed: str, target: str) -> RollbackOutcome:
    order = RollbackOrder("drawdown", "NAV fell", "watch", failed, target, place.registry.clock())
    return roll_back(place.registry, Nobody(), Nobody(), order)
