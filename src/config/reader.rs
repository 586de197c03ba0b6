//! How a section is read: every key is asked for by name, and every problem is collected.
//!
//! We don't derive `Deserialize` here, because serde stops at the first thing that is wrong and an operator wants
//! to hear of all of them. A [`Section`] remembers which keys were asked for, so that it can tell which of the
//! file's keys nobody knows and which known one was probably meant: the code that reads a key is the only list.
//!
//! To read a section, ask for **all** of its keys first and use `?` on the answers only afterwards, so that an
//! early return never hides the problems (or the names) of later keys.

use std::{cell::RefCell, collections::BTreeSet, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{problem::Problem, value::Value};

/// What is the same for every section of one file.
pub(super) struct Source<'a> {
    text: &'a str,
    root: &'a DeTable<'a>,
    /// The folder of the file; relative paths start here.
    pub(super) folder: &'a Path,
    /// Looks up an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<String>>,
}

/// One section while it is read.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    path: String,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<BTreeSet<String>>,
}

/// What a section said about a key.
pub(super) struct Field<'a, T> {
    section: &'a Section<'a>,
    key: &'static str,
    state: State<T>,
}

enum State<T> {
    Missing,
    /// It was there but wrong, and that has been reported.
    Bad,
    Given(T),
}

impl<'a> Source<'a> {
    pub(super) fn new(
        text: &'a str,
        root: &'a DeTable<'a>,
        folder: &'a Path,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self { text, root, folder, env, problems: RefCell::default(), known: RefCell::default() }
    }

    /// The whole file as a section.
    pub(super) fn read<T>(&'a self, read: impl FnOnce(&Section<'a>) -> T) -> T {
        Section::new(self, String::new(), Some(self.root)).finish(read)
    }

    /// Notes that something is wrong with the key of that full name.
    pub(super) fn problem(&self, key: impl Into<String>, message: impl Into<String>) {
        let (key, message) = (key.into(), message.into());
        let line = self.line_of(&key);
        self.problems.borrow_mut().push(Problem { line, key, message });
    }

    /// Everything that was wrong, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// The full names of all keys that were asked for.
    pub(super) fn into_known(self) -> BTreeSet<String> {
        self.known.into_inner()
    }

    /// The line of a key, or of the innermost section around it that the file has; 0 if none.
    fn line_of(&self, key: &str) -> usize {
        let mut table = self.root;
        let mut line = 0;
        for part in key.split('.') {
            let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                Some((name, index)) => (name, index.parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((found, value)) = table.iter().find(|(found, _)| found.as_ref() == name) else { break };
            let mut place = found.span();
            let mut value = value.as_ref();
            if let (Some(index), DeValue::Array(array)) = (index, value) {
                let Some(element) = array.get(index) else { break };
                place = element.span();
                value = element.as_ref();
            }
            line = line_at(self.text, place.start);
            let DeValue::Table(inner) = value else { break };
            table = inner;
        }
        line
    }
}

impl<'a> Section<'a> {
    const fn new(source: &'a Source<'a>, path: String, table: Option<&'a DeTable<'a>>) -> Self {
        Self { source, path, table, asked: RefCell::new(BTreeSet::new()) }
    }

    /// Runs `read` and then reports the keys that it has not asked for.
    fn finish<T>(self, read: impl FnOnce(&Self) -> T) -> T {
        let result = read(&self);
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            if !asked.contains(key.as_ref().as_ref()) {
                self.source.problem(self.full(key.as_ref()), unknown_key(key.as_ref(), &asked));
            }
        }
        result
    }

    /// The full name of a key in this section.
    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn find(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.table?.get(key)
    }

    /// Notes that something is wrong with one of this section's keys.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        self.source.problem(self.full(key), message);
    }

    /// Notes that something is wrong with this section itself.
    pub(super) fn problem_here(&self, message: impl Into<String>) {
        self.source.problem(self.path.clone(), message);
    }

    /// The folder of the file.
    pub(super) const fn folder(&self) -> &'a Path {
        self.source.folder
    }

    /// Asks for a key.
    pub(super) fn key<T: Value>(&'a self, key: &'static str) -> Field<'a, T> {
        self.source.known.borrow_mut().insert(self.full(key));
        let state = match self.find(key).map(|value| T::read(value.as_ref(), self.source)) {
            None => State::Missing,
            Some(Ok(value)) => State::Given(value),
            Some(Err(message)) => {
                self.problem(key, message);
                State::Bad
            }
        };
        Field { section: self, key, state }
    }

    /// Reads all keys of this section, whatever they are called. `documented`: those that the example shows.
    pub(super) fn pairs<T: Value>(&self, documented: &[&str]) -> Option<Vec<(&'a str, T)>> {
        self.source.known.borrow_mut().extend(documented.iter().map(|key| self.full(key)));
        let pairs = self.table.into_iter().flatten().map(|(key, value)| {
            let key: &'a str = key.as_ref().as_ref();
            self.asked.borrow_mut().insert(key.to_owned());
            match T::read(value.as_ref(), self.source) {
                Ok(value) => Some((key, value)),
                Err(message) => {
                    self.problem(key, message);
                    None
                }
            }
        });
        // Every pair is read before one that failed decides, so that each one's problems are heard.
        let pairs: Vec<_> = pairs.collect();
        pairs.into_iter().collect()
    }

    /// Reads a section inside this one. One that the file leaves out is read as an empty one.
    pub(super) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Section<'a>) -> Option<T>) -> Option<T> {
        let table = match self.find(key).map(Spanned::as_ref) {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(_) => {
                self.problem(key, format!("this is a section: write `[{}]`, and its keys below it", self.full(key)));
                return None;
            }
        };
        Section::new(self.source, self.full(key), table).finish(read)
    }

    /// Reads sections that the operator gives names to: `[key.NAME]`.
    pub(super) fn named<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&str, &Section<'a>) -> Option<T>,
    ) -> Vec<Option<T>> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let DeValue::Table(table) = value.as_ref() else {
            self.problem(key, format!("these are sections: write `[{}.NAME]`, and the keys below it", self.full(key)));
            return vec![None];
        };
        let entries = table.iter().map(|(name, value)| {
            let path = format!("{}.{}", self.full(key), name.as_ref());
            let DeValue::Table(table) = value.as_ref() else {
                let message = format!("this is a section: write `[{path}]`, and its keys below it");
                self.source.problem(path, message);
                return None;
            };
            Section::new(self.source, path, Some(table)).finish(|section| read(name.as_ref(), section))
        });
        entries.collect()
    }

    /// Reads sections that may come several times: `[[key]]`.
    pub(super) fn each<T>(&self, key: &'static str, mut read: impl FnMut(&Section<'a>) -> Option<T>) -> Option<Vec<T>> {
        let Some(value) = self.find(key) else { return Some(Vec::new()) };
        let full = self.full(key);
        let hint = format!("write `[[{full}]]` (with two brackets), and the keys below it; once for each");
        let DeValue::Array(array) = value.as_ref() else {
            self.problem(key, hint);
            return None;
        };
        let entries = array.iter().enumerate().map(|(index, value)| {
            let path = format!("{full}[{index}]");
            let DeValue::Table(table) = value.as_ref() else {
                self.source.problem(path, hint.clone());
                return None;
            };
            Section::new(self.source, path, Some(table)).finish(&mut read)
        });
        // Every entry is read before one that failed decides, so that each one's problems are heard.
        let entries: Vec<_> = entries.collect();
        entries.into_iter().collect()
    }
}

impl<'a, T> Field<'a, T> {
    /// What to take if the file says nothing.
    pub(super) fn or(self, default: T) -> Self {
        self.or_else(|| default)
    }

    /// What to take if the file says nothing, where that has to be worked out.
    pub(super) fn or_else(self, default: impl FnOnce() -> T) -> Self {
        match self.state {
            State::Missing => Self { state: State::Given(default()), ..self },
            _ => self,
        }
    }

    /// What to read as if the file said it, if it says nothing.
    pub(super) fn or_text(self, default: &'static str) -> Self
    where
        T: Value,
    {
        let source = self.section.source;
        self.or_else(|| {
            let text = DeValue::String(default.into());
            T::read(&text, source).expect("a default is valid by its test")
        })
    }

    /// Turns the value into what is meant by it, or says what is wrong with it.
    pub(super) fn parse<U>(self, parse: impl FnOnce(T) -> Result<U, String>) -> Field<'a, U> {
        let Self { section, key, state } = self;
        let state = match state {
            State::Missing => State::Missing,
            State::Bad => State::Bad,
            State::Given(value) => match parse(value) {
                Ok(value) => State::Given(value),
                Err(message) => {
                    section.problem(key, message);
                    State::Bad
                }
            },
        };
        Field { section, key, state }
    }

    /// The value; that it is missing is a problem.
    pub(super) fn get(self) -> Option<T> {
        match self.state {
            State::Given(value) => Some(value),
            State::Bad => None,
            State::Missing => {
                self.section.problem(self.key, "missing: this key has no default, so it has to be given");
                None
            }
        }
    }

    /// The value if there is one. The outer `None` means that it was there but wrong.
    #[expect(clippy::option_option, reason = "wrong and absent are two answers; the caller's `?` takes off the first")]
    pub(super) fn optional(self) -> Option<Option<T>> {
        match self.state {
            State::Given(value) => Some(Some(value)),
            State::Missing => Some(None),
            State::Bad => None,
        }
    }
}

/// The line, from 1, of a place in a text.
pub(super) fn line_at(text: &str, place: usize) -> usize {
    text.get(..place).map_or(0, |before| before.matches('\n').count() + 1)
}

/// What to say about a key that nobody asked for.
fn unknown_key(key: &str, known: &BTreeSet<String>) -> String {
    let Some(nearest) = nearest(key, known.iter().map(String::as_str)) else { return "unknown key".to_owned() };
    let all: Vec<_> = known.iter().map(String::as_str).collect();
    format!("unknown key: did you mean `{nearest}`? (Known here: {}.)", all.join(", "))
}

/// The word that is most like `word`.
pub(crate) fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Jaro-Winkler rather than an edit distance: it favours a common beginning, as people do.
    let likeness = |candidate| strsim::jaro_winkler(word, candidate);
    words.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
