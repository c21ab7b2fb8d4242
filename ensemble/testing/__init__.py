"""Contract tests of architectures and losses, for the authors of plug-ins.

Call them in a test file::

    import ensemble
    from ensemble.testing import check_architecture, check_loss

    ensemble.load_plugin("my_nets.py")

    def test_my_net():
        check_architecture("my-net")

    def test_my_loss():
        check_loss("my-loss")
"""

from ensemble.testing.architectures import ARCHITECTURE_CHECKS, check_architecture
from ensemble.testing.losses import LOSS_CHECKS, check_loss

__all__ = ["ARCHITECTURE_CHECKS", "LOSS_CHECKS", "check_architecture", "check_loss"]
