"Hypothesis: no limit on the time of one example; in CI the same examples each time, so that a red run can be repeated"
import os

from hypothesis import settings

settings.register_profile('local', deadline=None)
settings.register_profile('ci', deadline=None, derandomize=True)
settings.load_profile('ci' if os.environ.get('CI') else 'local')
