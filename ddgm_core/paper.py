"""The paper's constants, each said once."""

from __future__ import annotations

VIEWS = 128  # tilts, over
TILT_RANGE = -60.0, 60.0  # degrees, both ends included
TILT_NOISE = 4.1  # σ_y, section 3.2: a ratio of signal to noise of 10 to 1

PATCH, STRIDE = 128, 96  # of tiles, in pixels

STEP = 1.42  # λ ‖A‖₂²: its λ = 9e-5 for slices of 128 × 128
SIGMA = 3.0, 0.03  # σ_1 and σ_N of Algorithm 1
STEPS, GRADIENT_STEPS = 50, 25  # N and K of Algorithm 1
DESCENT_STEPS = 100  # K of gradient descent alone (Eq. 4)

# unconditional generation (Eq. 2), section 3.1
GENERATION_SIGMA, GENERATION_STEPS = 30.0, 50  # σ_1 and N
ALPHA, BETA = 0.183, 0.5
