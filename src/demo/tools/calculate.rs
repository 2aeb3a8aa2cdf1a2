//! Evaluates arithmetic expressions. Bounded in length and depth; no variables, no loops, nothing but arithmetic.
//!
//! ```text
//! sum     = product (("+" | "-") product)*
//! product = power (("*" | "/" | "%") power)*
//! power   = sign ("^" power)?                     2^3^2 is 2^(3^2)
//! sign    = ("+" | "-") power | atom              -2^2 is -(2^2)
//! atom    = number | constant | function "(" sum ("," sum)* ")" | "(" sum ")"
//! ```

use std::{f64::consts, iter::Peekable, str::Chars};

use serde_json::{Number, Value};

const MAX_LENGTH: usize = 1000;
/// Each level of an expression costs a few stack frames.
const MAX_DEPTH: usize = 100;
/// Up to here every integer is exactly a floating point number.
const MAX_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The value of `expression`, as an integer where it is one.
///
/// # Errors
/// What is wrong with the expression and where, for the caller to read.
pub(super) fn evaluate(expression: &str) -> Result<Value, String> {
    if expression.len() > MAX_LENGTH {
        return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
    }
    let mut parser = Parser {
        rest: expression.chars().peekable(),
        position: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => number(value),
        Some(found) => Err(parser.wrong(&format!("did not expect `{found}`"))),
    }
}

fn number(value: f64) -> Result<Value, String> {
    if value.fract() == 0.0 && value.abs() <= MAX_INTEGER {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be an integer within the range"
        )]
        return Ok(Value::from(value as i64));
    }
    let finite = Number::from_f64(value).map(Value::Number);
    finite.ok_or_else(|| "the result is no number, or too large for one".to_owned())
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    position: usize,
    depth: usize,
}

impl Parser<'_> {
    /// The next character that is not white space.
    fn peek(&mut self) -> Option<char> {
        while self.rest.next_if(|character| character.is_whitespace()).is_some() {
            self.position += 1;
        }
        self.rest.peek().copied()
    }

    /// Takes the next character if it is one of `wanted`.
    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let next = self.peek()?;
        wanted.contains(&next).then(|| {
            self.position += 1;
            self.rest.next();
            next
        })
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.rest.next_if(|character| belongs(*character)) {
            self.position += 1;
            taken.push(next);
        }
        taken
    }

    fn wrong(&self, what: &str) -> String {
        format!("at character {}: {what}", self.position + 1)
    }

    fn sum(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("nested too deep"));
        }
        let mut value = self.product()?;
        while let Some(operator) = self.take(&['+', '-']) {
            let right = self.product()?;
            value = if operator == '+' { value + right } else { value - right };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.power()?;
        while let Some(operator) = self.take(&['*', '/', '%', '×', '÷']) {
            let right = self.power()?;
            value = match operator {
                '*' | '×' => value * right,
                _ if right == 0.0 => return Err(self.wrong("division by zero")),
                '%' => value % right,
                _ => value / right,
            };
        }
        Ok(value)
    }

    fn power(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("nested too deep"));
        }
        let value = if let Some(sign) = self.take(&['+', '-', '−']) {
            let value = self.power()?;
            if sign == '+' { value } else { -value }
        } else {
            let base = self.atom()?;
            if self.take(&['^']).is_some() {
                base.powf(self.power()?)
            } else {
                base
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    fn atom(&mut self) -> Result<f64, String> {
        match self.peek() {
            Some('(') => {
                self.take(&['(']);
                let value = self.sum()?;
                self.closed(value)
            }
            Some(first) if first.is_ascii_digit() || first == '.' => self.literal(),
            Some(first) if first.is_ascii_alphabetic() => self.named(),
            Some(found) => Err(self.wrong(&format!("expected a number, found `{found}`"))),
            None => Err(self.wrong("expected a number, found the end")),
        }
    }

    fn closed<T>(&mut self, value: T) -> Result<T, String> {
        match self.take(&[')']) {
            Some(_) => Ok(value),
            None => Err(self.wrong("expected `)`")),
        }
    }

    fn literal(&mut self) -> Result<f64, String> {
        let start = self.position;
        let mut text = self.take_while(|character| character.is_ascii_digit() || matches!(character, '.' | '_'));
        if let Some(exponent) = self.rest.next_if(|character| matches!(character, 'e' | 'E')) {
            self.position += 1;
            text.push(exponent);
            if let Some(sign) = self.rest.next_if(|character| matches!(character, '+' | '-')) {
                self.position += 1;
                text.push(sign);
            }
            text.push_str(&self.take_while(|character| character.is_ascii_digit()));
        }
        let plain = text.replace('_', "");
        if let Ok(value) = plain.parse() {
            return Ok(value);
        }
        self.position = start;
        Err(self.wrong(&format!("`{text}` is no number")))
    }

    fn named(&mut self) -> Result<f64, String> {
        let start = self.position;
        let name = self
            .take_while(|character| character.is_ascii_alphanumeric())
            .to_ascii_lowercase();
        match name.as_str() {
            "pi" => return Ok(consts::PI),
            "e" => return Ok(consts::E),
            "tau" => return Ok(consts::TAU),
            _ => {}
        }
        let arguments = if self.take(&['(']).is_some() {
            self.arguments()?
        } else {
            Vec::new()
        };
        let value = match (name.as_str(), arguments.as_slice()) {
            ("sqrt", [x]) => x.sqrt(),
            ("abs", [x]) => x.abs(),
            ("ln", [x]) => x.ln(),
            ("log10", [x]) => x.log10(),
            ("exp", [x]) => x.exp(),
            ("sin", [x]) => x.sin(),
            ("cos", [x]) => x.cos(),
            ("tan", [x]) => x.tan(),
            ("round", [x]) => x.round(),
            ("floor", [x]) => x.floor(),
            ("ceil", [x]) => x.ceil(),
            ("min", [first, rest @ ..]) => rest.iter().fold(*first, |least, x| least.min(*x)),
            ("max", [first, rest @ ..]) => rest.iter().fold(*first, |most, x| most.max(*x)),
            (_, arguments) => {
                self.position = start;
                return Err(self.wrong(&format!("there is no `{name}` of {} arguments", arguments.len())));
            }
        };
        if value.is_nan() {
            Err(self.wrong(&format!("`{name}` has no value there")))
        } else {
            Ok(value)
        }
    }

    fn arguments(&mut self) -> Result<Vec<f64>, String> {
        let mut arguments = vec![self.sum()?];
        while self.take(&[',']).is_some() {
            arguments.push(self.sum()?);
        }
        self.closed(arguments)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arithmetic_is_as_in_school() {
        for (expression, value) in [
            ("1+2*3", "7"),
            ("(1+2)*3", "9"),
            ("2^3^2", "512"),
            ("-2^2", "-4"),
            ("2^-1", "0.5"),
            ("--3", "3"),
            ("7 % 4 / 2", "1.5"),
            ("1e3 + 1_000", "2000"),
            (".5 * 4", "2"),
            ("min(3, 1, 2) + max(4)", "5"),
            ("round(sqrt(2) * 100) / 100", "1.41"),
            ("floor(-pi)", "-4"),
            ("2 × 3 ÷ 4", "1.5"),
            ("2^53", "9007199254740992"),
            ("0.1 + 0.2", "0.30000000000000004"),
        ] {
            assert_eq!(evaluate(expression).unwrap().to_string(), value, "{expression}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (expression, said) in [
            ("", "at character 1: expected a number, found the end"),
            ("2 +", "at character 4: expected a number, found the end"),
            ("2 3", "at character 3: did not expect `3`"),
            ("(1", "at character 3: expected `)`"),
            ("1/0", "at character 4: division by zero"),
            ("1.2.3", "at character 1: `1.2.3` is no number"),
            ("foo(1)", "at character 1: there is no `foo` of 1 arguments"),
            ("sqrt(-1)", "at character 9: `sqrt` has no value there"),
            ("10^400", "the result is no number, or too large for one"),
        ] {
            assert_eq!(evaluate(expression).unwrap_err(), said, "{expression}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        for expression in ["(".repeat(900), "-".repeat(900), "2^".repeat(450), "sqrt(".repeat(200)] {
            assert!(evaluate(&expression).unwrap_err().contains("too deep"), "{expression}");
        }
        assert!(evaluate(&"1".repeat(1001)).unwrap_err().contains("longer"));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[-+*/%^()0-9a-z., eé×]{0,60}") {
            drop(evaluate(&text));
        }

        #[test]
        fn integers_stay_themselves(value in -9_007_199_254_740_992_i64..=9_007_199_254_740_992) {
            prop_assert_eq!(evaluate(&format!("({value})")).unwrap(), Value::from(value));
        }
    }
}
