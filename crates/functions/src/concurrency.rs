//! Concurrency that is set aside for functions.

use base::{Batch, FunctionName, Scope};
use serde::{Deserialize, Serialize};

use crate::FunctionError;
use crate::functions::{Functions, key, prefix};
use crate::pool::Input;

/// Of all environments, the part that stays for functions with nothing set aside: a tenth, as 100 of 1,000 are on AWS
/// Lambda ("Configuring reserved concurrency").
const COMMON: usize = 10;

/// What is set aside for a function.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reserved {
    pub environments: u32,
}

/// Environments of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub total: usize,
    /// For functions with nothing set aside.
    pub common: usize,
}

impl Functions {
    /// How many environments are set aside for a function, if any are; it gets no more.
    pub fn reserved(&self, scope: &Scope, name: &FunctionName) -> Result<Option<u32>, FunctionError> {
        self.get(scope, name)?;
        Ok(self.inner.concurrency.find(&prefix(scope, name)).map(|reserved| reserved.environments))
    }

    /// How many environments there are.
    pub fn capacity(&self) -> Capacity {
        let total = self.inner.config.max_environments;
        let reserved: usize = self.inner.concurrency.below("").iter().map(|(_, r)| r.environments as usize).sum();
        Capacity { total, common: total.saturating_sub(reserved) }
    }

    /// Sets environments aside for a function, or nothing any more. With none left to it, every call is throttled.
    pub async fn reserve(
        &self,
        scope: &Scope,
        name: &FunctionName,
        environments: Option<u32>,
    ) -> Result<(), FunctionError> {
        // The sum of all is looked at.
        let _turn = self.inner.turn.acquire().await;
        self.get(scope, name)?;
        let home = prefix(scope, name);
        let batch = self.inner.registry.present(Batch::new(), scope, name);
        let batch = match environments {
            None => self.inner.concurrency.delete(batch, &home),
            Some(environments) => {
                let own = self.inner.concurrency.find(&home).map_or(0, |reserved| reserved.environments as usize);
                let Capacity { total, common } = self.capacity();
                let least = total.div_ceil(COMMON);
                if (common + own).saturating_sub(environments as usize) < least {
                    return Err(FunctionError::Invalid(format!(
                        "Specified ReservedConcurrentExecutions for function decreases account's \
                         UnreservedConcurrentExecution below its minimum value of [{least}]."
                    )));
                }
                self.inner.concurrency.put(batch, &home, &Reserved { environments })?
            }
        };
        self.commit(name, batch).await?;
        self.inner.concurrency.refresh(&home)?;
        self.reserve_in_pool(scope, name);
        Ok(())
    }

    /// A limit may have been lowered below what was set aside under another.
    pub(crate) fn warn_of_too_much_set_aside(&self) {
        let Capacity { total, common } = self.capacity();
        let least = total.div_ceil(COMMON);
        if common < least {
            tracing::warn!(
                max_environments = total,
                left = common,
                "of max_environments in section functions less than {least} are left to functions with nothing set \
                 aside: their calls may all be throttled; raise it, or set less aside"
            );
        }
    }

    /// Tells the pool what is set aside now.
    pub(crate) fn reserve_in_pool(&self, scope: &Scope, name: &FunctionName) {
        let found = self.inner.concurrency.find(&prefix(scope, name));
        let environments = found.map(|reserved| reserved.environments as usize);
        self.step(Input::Reserved { function: key(scope, name), environments });
    }
}
