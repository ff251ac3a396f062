//! A program so small that its whole file can be kept as a seed: fuzzing begins with what `make.sh` builds of it.
#![no_std]
#![no_main]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[derive(Clone, Copy)]
pub struct Point {
    x: i32,
    y: u64,
}

pub enum Shape {
    Circle(f32),
    Rect { w: u32, h: u32 },
    Named(&'static str),
    Empty,
}

#[derive(Clone, Copy)]
pub enum Color {
    Red = -1,
    Green = 5,
}

pub trait Speak {
    fn speak(&self) -> u64;
}

impl Speak for Point {
    fn speak(&self) -> u64 {
        self.y
    }
}

pub static ORIGIN: Point = Point { x: 3, y: 9 };

#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let low = a ^ b;
    low.wrapping_mul(31)
}

#[inline(never)]
fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = fib(n.wrapping_sub(1));
    let right = fib(n.wrapping_sub(2));
    mix(left, right)
}

#[inline(never)]
fn generic<T: Into<u64> + Copy>(value: T, maybe: Option<&Point>) -> u64 {
    let wide: u64 = value.into();
    match maybe {
        Some(point) => mix(wide, point.y),
        None => wide,
    }
}

#[inline(never)]
fn shapes(shape: &Shape, color: Color, speaker: &dyn Speak, bytes: &[u8], tuple: (u8, char)) -> u64 {
    let closure = |extra: u64| extra ^ tuple.0 as u64;
    let nested: Option<Option<bool>> = Some(None);
    let sum = match shape {
        Shape::Circle(radius) => *radius as u64,
        Shape::Rect { w, h } => mix(*w as u64, *h as u64),
        Shape::Named(name) => name.len() as u64,
        Shape::Empty => bytes.len() as u64,
    };
    let big = u128::MAX >> (sum & 7);
    closure(sum) ^ (color as i64 as u64) ^ speaker.speak() ^ nested.is_some() as u64 ^ big as u64
}

#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let point = Point { x: ORIGIN.x, y: 5 };
    let mut sum = fib(6);
    sum ^= generic(7u32, Some(&point)) ^ generic(8u8, None);
    let tuple = (sum as u8, 'x');
    sum ^= shapes(&Shape::Circle(1.5), Color::Red, &point, &[1, 2, 3], tuple);
    sum ^= shapes(&Shape::Rect { w: 3, h: 4 }, Color::Red, &point, &[1, 2, 3], tuple);
    sum ^= shapes(&Shape::Named("n"), Color::Red, &point, &[1, 2, 3], tuple);
    sum ^= shapes(&Shape::Empty, Color::Green, &ORIGIN, &[], (point.x as u8, 'y'));
    loop {
        core::hint::black_box(sum);
    }
}
