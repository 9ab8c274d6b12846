"""What all tests share."""

from hypothesis import HealthCheck, settings

# Machines that run tests are slow now and then: no deadline for one example, and not too many of them.
settings.register_profile("here", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")
