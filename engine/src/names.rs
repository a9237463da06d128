//! Names of containers: which are allowed, and one for a container that nobody has named.

use image::{Error, Result};

/// Refuses what is no name, in Docker's words.
///
/// # Errors
/// As said.
pub fn check(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.len() > 0 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    match first && rest {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        ))),
    }
}

/// An adjective and the surname of somebody who has done great things, as Docker names containers; from the second attempt on with a
/// digit.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn generate(attempt: u32) -> Result<String> {
    loop {
        let [a, b, c, d, e] = sys::random::bytes()?;
        let name = format!(
            "{}_{}",
            pick(ADJECTIVES, u16::from_le_bytes([a, b])),
            pick(SURNAMES, u16::from_le_bytes([c, d]))
        );
        // Steve Wozniak is not boring.
        if name != "boring_wozniak" {
            return Ok(match attempt {
                0 => name,
                _ => format!("{name}{}", e % 10),
            });
        }
    }
}

/// Of some hundred words each is as likely as the other, nearly.
fn pick(words: &'static str, random: u16) -> &'static str {
    let count = words.split_ascii_whitespace().count();
    let at = usize::from(random) % count.max(1);
    words.split_ascii_whitespace().nth(at).unwrap_or_default()
}

/// The words of Docker's own generator (see NOTICE).
const ADJECTIVES: &str = "
    admiring adoring affectionate agitated amazing angry awesome beautiful blissful bold boring brave busy charming clever
    compassionate competent condescending confident cool cranky crazy dazzling determined distracted dreamy eager ecstatic
    elastic elated elegant eloquent epic exciting fervent festive flamboyant focused friendly frosty funny gallant gifted
    goofy gracious great happy hardcore heuristic hopeful hungry infallible inspiring intelligent interesting jolly jovial
    keen kind laughing loving lucid magical modest musing mystifying naughty nervous nice nifty nostalgic objective
    optimistic peaceful pedantic pensive practical priceless quirky quizzical recursing relaxed reverent romantic sad
    serene sharp silly sleepy stoic strange stupefied suspicious sweet tender thirsty trusting unruffled upbeat vibrant
    vigilant vigorous wizardly wonderful xenodochial youthful zealous zen
";

const SURNAMES: &str = "
    agnesi albattani allen almeida antonelli archimedes ardinghelli aryabhata austin babbage banach banzai bardeen bartik
    bassi beaver bell benz bhabha bhaskara black blackburn blackwell bohr booth borg bose bouman boyd brahmagupta brattain
    brown buck burnell cannon carson cartwright carver cerf chandrasekhar chaplygin chatelet chatterjee chaum chebyshev
    clarke cohen colden cori cray curie curran darwin davinci dewdney dhawan diffie dijkstra dirac driscoll dubinsky
    easley edison einstein elbakyan elgamal elion ellis engelbart euclid euler faraday feistel fermat fermi feynman
    franklin gagarin galileo galois ganguly gates gauss germain goldberg goldstine goldwasser golick goodall gould greider
    grothendieck haibt hamilton haslett hawking heisenberg hellman hermann herschel hertz heyrovsky hodgkin hofstadter
    hoover hopper hugle hypatia ishizaka jackson jang jemison jennings jepsen johnson joliot jones kalam kapitsa kare
    keldysh keller kepler khayyam khorana kilby kirch knuth kowalevski lalande lamarr lamport leakey leavitt lederberg
    lehmann lewin lichterman liskov lovelace lumiere mahavira margulis matsumoto maxwell mayer mccarthy mcclintock mclaren
    mclean mcnulty meitner mendel mendeleev meninsky merkle mestorf mirzakhani montalcini moore morse moser murdock napier
    nash neumann newton nightingale nobel noether northcutt noyce panini pare pascal pasteur payne perlman pike poincare
    poitras proskuriakova ptolemy raman ramanujan rhodes ride ritchie robinson roentgen rosalind rubin saha sammet
    sanderson satoshi shamir shannon shaw shirley shockley shtern sinoussi snyder solomon spence stonebraker sutherland
    swanson swartz swirles taussig tesla tharp thompson torvalds tu turing varahamihira vaughan villani visvesvaraya
    volhard wescoff wilbur wiles williams williamson wilson wing wozniak wright wu yalow yonath zhukovsky
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_are_allowed() {
        for name in ["ab", "a.b", "A_1-x", "0x"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "a", "_a", "-ab", "a/b", "\u{e4}b", "a b", ".ab"] {
            assert_eq!(
                check(name).unwrap_err().to_string(),
                format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[test]
    fn names_that_are_made_up() {
        assert_eq!(ADJECTIVES.split_ascii_whitespace().count(), 108);
        assert_eq!(SURNAMES.split_ascii_whitespace().count(), 236);
        let name = generate(0).unwrap();
        let (adjective, surname) = name.split_once('_').unwrap();
        assert!(
            ADJECTIVES.contains(adjective) && SURNAMES.contains(surname),
            "{name}"
        );
        let name = generate(1).unwrap();
        assert!(
            name.ends_with(|c: char| c.is_ascii_digit()) && check(&name).is_ok(),
            "{name}"
        );
        assert_eq!((pick("x y z", 0), pick("x y z", 5)), ("x", "z"));
    }
}
