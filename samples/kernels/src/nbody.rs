//! The outer planets around the sun, by a symplectic integrator.
//!
//! Positions, velocities and masses are those of the Computer Language Benchmarks Game's n-body problem, whose published
//! energies the tests check: -0.169075164 at the start, -0.169087605 after 1,000 steps.

/// A body: position in astronomical units, velocity in units per day, mass in units of 4π².
#[derive(Clone, Copy, Debug)]
struct Body {
    position: [f64; 3],
    velocity: [f64; 3],
    mass: f64,
}

const SOLAR_MASS: f64 = 4.0 * core::f64::consts::PI * core::f64::consts::PI;
const DAYS: f64 = 365.24;

/// The sun and the four outer planets.
#[derive(Clone, Debug)]
pub struct System([Body; 5]);

const fn planet(position: [f64; 3], velocity: [f64; 3], mass: f64) -> Body {
    let velocity = [velocity[0] * DAYS, velocity[1] * DAYS, velocity[2] * DAYS];
    Body { position, velocity, mass: mass * SOLAR_MASS }
}

impl Default for System {
    fn default() -> Self {
        let mut bodies = [
            Body { position: [0.0; 3], velocity: [0.0; 3], mass: SOLAR_MASS },
            planet(
                [4.841_431_442_464_721, -1.160_320_044_027_428_4, -1.036_220_444_711_231_1e-1],
                [1.660_076_642_744_037e-3, 7.699_011_184_197_404e-3, -6.904_600_169_720_63e-5],
                9.547_919_384_243_266e-4,
            ),
            planet(
                [8.343_366_718_244_58, 4.124_798_564_124_305, -4.035_234_171_143_214e-1],
                [-2.767_425_107_268_624e-3, 4.998_528_012_349_172e-3, 2.304_172_975_737_639_3e-5],
                2.858_859_806_661_308e-4,
            ),
            planet(
                [1.289_436_956_213_913_1e1, -1.511_115_140_169_863_1e1, -2.233_075_788_926_557_3e-1],
                [2.964_601_375_647_616e-3, 2.378_471_739_594_809_5e-3, -2.965_895_685_402_375_6e-5],
                4.366_244_043_351_563e-5,
            ),
            planet(
                [1.537_969_711_485_091_7e1, -2.591_931_460_998_796_4e1, 1.792_587_729_503_711_8e-1],
                [2.680_677_724_903_893_2e-3, 1.628_241_700_382_423e-3, -9.515_922_545_197_159e-5],
                5.151_389_020_466_114_5e-5,
            ),
        ];
        // The sun moves so that the system's centre of mass rests.
        for axis in 0..3 {
            let momentum: f64 = bodies.iter().map(|b| b.velocity[axis] * b.mass).sum();
            bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
        }
        Self(bodies)
    }
}

impl System {
    /// Moves all bodies by `steps` steps of 0.01 days each.
    pub fn advance(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step(0.01);
        }
    }

    fn step(&mut self, dt: f64) {
        for i in 0..5 {
            let (before, after) = self.0.split_at_mut(i + 1);
            let a = &mut before[i];
            for b in after {
                let delta = difference(a.position, b.position);
                let square = dot(delta, delta);
                let magnitude = dt / (square * sqrt(square));
                for (axis, delta) in delta.iter().enumerate() {
                    a.velocity[axis] -= delta * b.mass * magnitude;
                    b.velocity[axis] += delta * a.mass * magnitude;
                }
            }
        }
        for body in &mut self.0 {
            for axis in 0..3 {
                body.position[axis] += dt * body.velocity[axis];
            }
        }
    }

    /// The system's energy, which a good integrator keeps.
    #[must_use]
    pub fn energy(&self) -> f64 {
        let mut energy = 0.0;
        for (i, a) in self.0.iter().enumerate() {
            energy += 0.5 * a.mass * dot(a.velocity, a.velocity);
            for b in &self.0[i + 1..] {
                let delta = difference(a.position, b.position);
                energy -= a.mass * b.mass / sqrt(dot(delta, delta));
            }
        }
        energy
    }
}

fn difference(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The square root, which `core` has no function for: one instruction on every CPU, the same natively and in a VM.
fn sqrt(x: f64) -> f64 {
    libm::sqrt(x)
}

#[cfg(test)]
mod tests {
    use super::System;

    #[test]
    fn published_energies() {
        let mut system = System::default();
        assert!((system.energy() - -0.169_075_164).abs() < 1e-9, "{}", system.energy());
        system.advance(1000);
        assert!((system.energy() - -0.169_087_605).abs() < 1e-9, "{}", system.energy());
    }
}
