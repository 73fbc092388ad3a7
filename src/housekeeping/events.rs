//! Events of tasks that ended long ago. The tasks and their results stay.

use super::{Action, House, HousekeepingError, Item, What};

impl House<'_> {
    pub(super) async fn events(&self) -> Result<Vec<Item>, HousekeepingError> {
        if self.policy.events_days == 0 {
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        for task in self.store.list_spent_tasks(self.limit(self.policy.events_days)).await? {
            if !self.mode.dry_run {
                self.store.delete_task_events(task.id).await?;
            }
            items.push(Item {
                what: What::Events,
                id: task.id.to_string(),
                age: Some(self.now - task.ended_at),
                bytes: u64::try_from(task.bytes).ok(),
                action: Action::Remove,
            });
        }
        Ok(items)
    }
}
