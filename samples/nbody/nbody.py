"""The sun and its giant planets, step by step: what `denali bench program` measures Python by. Argument: steps."""
import math
import sys

YEAR, SUN = 365.24, 4 * math.pi * math.pi
# Position in astronomical units, velocity in those a day, mass in suns.
BODIES = [
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0),
    ((4.8414, -1.1603, -0.1036), (0.00166, 0.00769, -0.00006), 9.548e-4),
    ((8.3433, 4.1248, -0.4035), (-0.00276, 0.00499, 0.00002), 2.859e-4),
    ((12.8943, -15.1111, -0.2233), (0.00296, 0.00237, -0.00003), 4.366e-5),
    ((15.3796, -25.9193, 0.1793), (0.00268, 0.00162, -0.00009), 5.151e-5),
]


def energy(bodies):
    total = 0.0
    for at, (x, v, mass) in enumerate(bodies):
        total += mass * sum(c * c for c in v) / 2
        total -= sum(mass * other / math.dist(x, y) for y, _, other in bodies[at + 1:])
    return total


def advance(bodies, day):
    for at, (x, v, mass) in enumerate(bodies):
        for y, w, other in bodies[at + 1:]:
            dx, dy, dz = x[0] - y[0], x[1] - y[1], x[2] - y[2]
            square = dx * dx + dy * dy + dz * dz
            pull = day / (square * math.sqrt(square))
            mine, its = other * pull, mass * pull
            v[0] -= dx * mine
            v[1] -= dy * mine
            v[2] -= dz * mine
            w[0] += dx * its
            w[1] += dy * its
            w[2] += dz * its
    for x, v, _ in bodies:
        x[0] += day * v[0]
        x[1] += day * v[1]
        x[2] += day * v[2]


def main():
    bodies = [(list(x), [c * YEAR for c in v], mass * SUN) for x, v, mass in BODIES]
    print(f"{energy(bodies):.9f}")
    for _ in range(int(sys.argv[1])):
        advance(bodies, 0.01)
    print(f"{energy(bodies):.9f}")


main()
