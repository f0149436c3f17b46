//! Multiplying matrices of floating-point numbers.

use alloc::{vec, vec::Vec};

/// A square matrix, by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    side: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// The matrix whose value in each row and column `value` tells.
    #[must_use]
    pub fn of(side: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let place = |i: usize| (i / side, i % side);
        Self { side, values: (0..side * side).map(place).map(|(row, column)| value(row, column)).collect() }
    }

    /// All zero.
    #[must_use]
    pub fn zero(side: usize) -> Self {
        Self { side, values: vec![0.0; side * side] }
    }

    /// Adds the product of `a` and `b`, both of this matrix's size. The innermost loop goes along rows, so that it reads
    /// memory in order and compilers vectorise it.
    pub fn add_product(&mut self, a: &Self, b: &Self) {
        let side = self.side;
        for (sums, factors) in self.values.chunks_exact_mut(side).zip(a.values.chunks_exact(side)) {
            for (factor, row) in factors.iter().zip(b.values.chunks_exact(side)) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += factor * value;
                }
            }
        }
    }

    /// The sum of the diagonal.
    #[must_use]
    pub fn trace(&self) -> f64 {
        self.values.iter().step_by(self.side + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Matrix;
    use alloc::vec;

    #[test]
    fn a_product_by_hand() {
        let a = Matrix::of(2, |row, column| (2 * row + column) as f64);
        let mut product = Matrix::zero(2);
        product.add_product(&a, &a);
        assert_eq!(product, Matrix { side: 2, values: vec![2.0, 3.0, 6.0, 11.0] });
        assert_eq!(product.trace().to_bits(), 13f64.to_bits());
    }

    #[test]
    fn the_identity_changes_nothing() {
        let a = Matrix::of(17, |row, column| (row * 31 + column * 7) as f64 / 3.0);
        let identity = Matrix::of(17, |row, column| f64::from(u8::from(row == column)));
        let mut product = Matrix::zero(17);
        product.add_product(&identity, &a);
        assert_eq!(product, a);
    }
}
