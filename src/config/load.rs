//! Reads all layers and makes one configuration of them, or one list of everything that is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Format, Toml},
    value::{Dict, Value},
};

use super::{
    desktop::{self, Theirs},
    dotenv,
    expand::{ExpandError, expand},
    extract::extract,
    format::{Jsonc, Yaml},
    layers::{self, Flags, Layer},
    mistakes::{ConfigError, KeyPath, Mistake, Mistakes},
    model::Config,
    places::{self, Surroundings},
    raw::{Basis, RawConfig},
    secret::Secret,
    sensitive::looks_secret,
    twin::Files,
};

/// Larger than any configuration.
const LARGEST_FILE: u64 = 16 << 20;

/// A shorter value also occurs in innocent text, and masking it would say where it stands.
const SHORTEST_HIDDEN: usize = 4;

/// A good configuration and what else was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is not wrong but probably not meant either, one line each.
    pub warnings: Vec<String>,
    /// The files that were read or looked for: when one of them changes, it is worth loading again.
    pub watched: BTreeSet<PathBuf>,
}

impl Config {
    /// Reads the configuration of this process: defaults, file, `.env`, `.env.local`, environment, flags.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
        Self::load_in(flags, &Surroundings::of_process())
    }

    /// Like [`Config::load`], in surroundings of the caller's choice.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load_in(flags: &Flags, surroundings: &Surroundings) -> Result<Loaded, ConfigError> {
        Loader::new(surroundings).load(flags)
    }
}

struct Loader<'a> {
    surroundings: &'a Surroundings,
    mistakes: Mistakes,
    warnings: Vec<String>,
    watched: BTreeSet<PathBuf>,
    hidden: Vec<Secret<String>>,
}

impl<'a> Loader<'a> {
    fn new(surroundings: &'a Surroundings) -> Self {
        Self {
            surroundings,
            mistakes: Mistakes::default(),
            warnings: Vec::new(),
            watched: BTreeSet::new(),
            hidden: Vec::new(),
        }
    }

    fn load(mut self, flags: &Flags) -> Result<Loaded, ConfigError> {
        let file = self.find_file(flags);
        let folder = file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(&self.surroundings.folder)
            .to_owned();
        let settings = [".env", ".env.local"].map(|name| folder.join(name));
        let env_files = settings.each_ref().map(|file| self.read_dotenv(file));
        let mut variables = BTreeMap::new();
        for set in env_files.iter().chain([&self.surroundings.variables]) {
            variables.extend(set.clone());
        }

        let (values, theirs) = match &file {
            Some(file) => self.read_file(file, &variables),
            None => (Dict::new(), Theirs::new()),
        };
        let services = match values.get("services") {
            Some(Value::Dict(_, services)) => services.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let file_name = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let mut layers = vec![Layer::new(file_name, values)];
        for (set, file) in env_files.iter().zip(&settings) {
            layers.extend(layers::variables(set, Some(file), &services, &mut self.warnings));
        }
        layers.extend(layers::variables(
            &self.surroundings.variables,
            None,
            &services,
            &mut self.warnings,
        ));
        layers.extend(flags.layers());
        if !flags.admin && (flags.admin_host.is_some() || flags.admin_port.is_some()) {
            self.warnings
                .push("--admin-host and --admin-port do not open the admin door; --admin does".to_owned());
        }
        let merged = layers.into_iter().fold(Figment::new(), Figment::merge);
        self.finish(file, &merged, &theirs)
    }

    fn find_file(&mut self, flags: &Flags) -> Option<PathBuf> {
        let named = flags.config.clone();
        let variable = || {
            self.surroundings
                .variables
                .get("MCPVISOR_CONFIG")
                .filter(|name| !name.is_empty())
        };
        if let Some(named) = named.or_else(|| variable().map(PathBuf::from)) {
            return Some(self.surroundings.absolute(&named));
        }
        let found = places::find_file(self.surroundings);
        for other in found.passed_over {
            self.warnings
                .push(format!("{} is not read, because of the one before it", other.display()));
        }
        found.file
    }

    fn read_dotenv(&mut self, file: &Path) -> BTreeMap<String, String> {
        self.watched.insert(file.to_owned());
        if !file.exists() {
            return BTreeMap::new();
        }
        match read(file) {
            Ok(text) => {
                let (variables, bad) = dotenv::parse(&text);
                for line in bad {
                    self.note(file, format!("line {line} is not `KEY=value`"));
                }
                variables
            }
            Err(message) => {
                self.note(file, message);
                BTreeMap::new()
            }
        }
    }

    /// Notes that a whole file is wrong.
    fn note(&mut self, file: &Path, message: impl Into<String>) {
        let mistake = Mistake {
            path: String::new(),
            message: message.into(),
            suggestion: None,
            origin: Some(file.display().to_string()),
        };
        self.mistakes.0.push((KeyPath::default(), mistake));
    }

    /// The values of the file: parsed, in our words, expanded, with absolute paths.
    fn read_file(&mut self, file: &Path, variables: &BTreeMap<String, String>) -> (Dict, Theirs) {
        self.watched.insert(file.to_owned());
        let extension = file
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        let parsed = read(file).and_then(|text| match extension {
            "toml" => parse_toml(&text),
            "json" | "jsonc" => Jsonc::from_str(&text).map_err(|error| error.to_string()),
            _ => Yaml::from_str(&text).map_err(|error| error.to_string()),
        });
        let mut values: Dict = match parsed {
            Ok(values) => values,
            Err(message) => {
                self.note(file, message);
                return (Dict::new(), Theirs::new());
            }
        };
        let is_json = extension.starts_with("json");
        let theirs = desktop::adopt(&mut values, is_json, &mut self.mistakes, &mut self.warnings);
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        let mut walk = Walk {
            loader: self,
            variables,
            folder: &folder,
        };
        for (key, value) in &mut values {
            walk.visit(&KeyPath::of(&[key.as_str()]), value, false);
        }
        (values, theirs)
    }

    fn finish(mut self, file: Option<PathBuf>, merged: &Figment, theirs: &Theirs) -> Result<Loaded, ConfigError> {
        let value: Value = match merged.extract() {
            Ok(value) => value,
            Err(error) => {
                self.mistakes.push(KeyPath::default(), error.to_string());
                Value::from(Dict::new())
            }
        };
        let raw: RawConfig = extract(&value, &mut self.mistakes);
        let mut files = Files::default();
        let data_dir = match raw.data_dir() {
            Some(folder) => self.surroundings.absolute(folder),
            None => places::data_folder(file.as_deref(), self.surroundings),
        };
        let mut config = raw.check(Basis {
            file,
            data_dir: data_dir.clone(),
            in_container: self.surroundings.in_container,
            hidden: self.hidden,
            files: &mut files,
            mistakes: &mut self.mistakes,
            warnings: &mut self.warnings,
        });
        config.data_dir = data_dir;
        self.watched.extend(files.0);
        if self.mistakes.0.is_empty() {
            return Ok(Loaded {
                config,
                warnings: self.warnings,
                watched: self.watched,
            });
        }
        let mistakes = self.mistakes.0.into_iter().map(|(path, mut mistake)| {
            mistake.origin = mistake.origin.or_else(|| origin(merged, &value, &path));
            mistake.path = in_their_words(&path, theirs).to_string();
            mistake
        });
        Err(ConfigError {
            mistakes: mistakes.collect(),
            watched: self.watched,
        })
    }
}

fn read(file: &Path) -> Result<String, String> {
    let about = fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
    if about.len() > LARGEST_FILE {
        return Err("is larger than any configuration".to_owned());
    }
    fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
}

/// Without the piece of the file that the library's message would show, for it may hold a secret.
fn parse_toml(text: &str) -> Result<Dict, String> {
    Toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.lines().count().max(1));
        format!("{} at line {line}", error.message().replace('\n', " "))
    })
}

/// Where the value at `path`, or the nearest thing around it, came from.
fn origin(merged: &Figment, value: &Value, path: &KeyPath) -> Option<String> {
    let mut here = value;
    let mut tag = None;
    for segment in &path.0 {
        let inner = match here {
            Value::Dict(_, map) => map.get(segment),
            Value::Array(_, list) => segment.parse::<usize>().ok().and_then(|index| list.get(index)),
            Value::String(..) | Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => None,
        };
        let Some(inner) = inner else { break };
        tag = Some(inner.tag());
        here = inner;
    }
    let name = merged.get_metadata(tag?)?.name.to_string();
    (!name.is_empty()).then_some(name)
}

fn in_their_words(path: &KeyPath, theirs: &Theirs) -> KeyPath {
    let mut path = path.clone();
    if let [section, name, ..] = path.0.as_mut_slice()
        && section == "services"
        && let Some(their_name) = theirs.get(name)
    {
        "mcpServers".clone_into(section);
        name.clone_from(their_name);
    }
    path
}

/// Expands every string of a file and makes its paths absolute.
struct Walk<'w, 'a> {
    loader: &'w mut Loader<'a>,
    variables: &'w BTreeMap<String, String>,
    folder: &'w Path,
}

impl Walk<'_, '_> {
    /// `lenient`: inside a service that is switched off, where a variable may well be missing.
    fn visit(&mut self, at: &KeyPath, value: &mut Value, lenient: bool) {
        match value {
            Value::String(_, text) => {
                match expand(text, self.variables) {
                    Ok(expanded) => {
                        *text = expanded.text;
                        let secret = expanded.used.into_iter().filter(|name| looks_secret(name));
                        let values = secret.filter_map(|name| self.variables.get(&name));
                        let values = values.filter(|value| value.len() >= SHORTEST_HIDDEN).cloned();
                        self.loader.hidden.extend(values.map(Secret::new));
                    }
                    Err(ExpandError::Unset(_)) if lenient => text.clear(),
                    Err(error) => {
                        let suggestion = match &error {
                            ExpandError::Foreign(reference, _) => {
                                reference.split_once(':').map(|(_, name)| format!("${{{name}}}"))
                            }
                            ExpandError::Unset(_) | ExpandError::Open | ExpandError::NotAName(_) => None,
                        };
                        self.loader.mistakes.suggest(at.clone(), error.to_string(), suggestion);
                    }
                }
                if is_path(at) && !text.is_empty() {
                    *text = places::resolve(text, self.folder, self.loader.surroundings);
                }
            }
            Value::Dict(_, map) => {
                let off = matches!(map.get("enabled"), Some(Value::Bool(_, false))) && at.0.len() == 2;
                for (key, inner) in &mut *map {
                    self.visit(&at.join(key), inner, lenient || off);
                }
                if let ["services", _] = at.segments().as_slice() {
                    self.find_program(map);
                }
            }
            Value::Array(_, list) => {
                for (index, inner) in list.iter_mut().enumerate() {
                    self.visit(&at.join(index), inner, lenient);
                }
            }
            Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => {}
        }
    }

    /// `./server` starts beside the file it is written in, unless the service has a folder of its own.
    fn find_program(&self, service: &mut Dict) {
        let at_home = service.contains_key("cwd");
        if let Some(Value::String(_, program)) = service.get_mut("command")
            && (program.starts_with("~/")
                || (program.contains('/') && !at_home && !program.contains(char::is_whitespace)))
        {
            *program = places::resolve(program, self.folder, self.loader.surroundings);
        }
    }
}

/// Whether the value at this key is a path.
fn is_path(path: &KeyPath) -> bool {
    matches!(
        path.segments().as_slice(),
        ["data_dir"]
            | ["log", "dir"]
            | ["auth", "tokens", _, "token_file"]
            | ["storage", "database_url_file" | "redis_url_file"]
            | ["services", _, "cwd"]
            | ["services", _, "env_files" | "header_files", _]
    )
}
