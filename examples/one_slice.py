"""A tilt series of one slice, and its reconstruction with a prior and without."""

import ddgm

prior = ddgm.load_prior("small")
grey = ddgm.neuropil((128, 192, 8))[:, :, 0]  # or a slice of your own, 16 nm a pixel
truth = (grey - prior.card.mean) / prior.card.std
geometry = ddgm.TiltGeometry.uniform(128, 192, views=61, detector="lateral")
y = ddgm.simulate(truth, geometry)
for method in ({"name": "ddx", "steps": 5}, {"name": "gradient_descent"}):
    x = ddgm.reconstruct(y, geometry, prior, method)
    print(f"{method['name']}: MSE {ddgm.metrics.mse(x, truth):.3f}")
