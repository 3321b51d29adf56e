//! As much of `mlops`'s error module as the archive's reader needs: the hint becomes a context.

pub trait Hint<T> {
    fn hint(self, hint: impl Into<String>) -> Result<T, anyhow::Error>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T, anyhow::Error> {
        self.map_err(|error| error.into().context(hint.into()))
    }
}
