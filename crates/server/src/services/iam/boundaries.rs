//! Permissions boundaries of users and roles.

use super::*;

macro_rules! operations {
    ($class:ident, $field:ident: $put:ident($put_in:ty) -> $put_out:ty; $delete:ident($delete_in:ty) -> $delete_out:ty) => {
        pub(super) async fn $put(service: &AccessManagement, _: &Call, input: $put_in) -> Answer<$put_out> {
            let (of, arn) = (name(Class::$class, &input.$field)?, input.permissions_boundary);
            service.change(move |directory| directory.bound(Class::$class, &of, Some(&arn))).await?;
            Ok(Default::default())
        }

        pub(super) async fn $delete(service: &AccessManagement, _: &Call, input: $delete_in) -> Answer<$delete_out> {
            let of = name(Class::$class, &input.$field)?;
            service.change(move |directory| directory.bound(Class::$class, &of, None)).await?;
            Ok(Default::default())
        }
    };
}

operations! {
    Role, role_name:
    put_on_role(PutRolePermissionsBoundaryInput) -> PutRolePermissionsBoundaryOutput;
    delete_of_role(DeleteRolePermissionsBoundaryInput) -> DeleteRolePermissionsBoundaryOutput
}
operations! {
    User, user_name:
    put_on_user(PutUserPermissionsBoundaryInput) -> PutUserPermissionsBoundaryOutput;
    delete_of_user(DeleteUserPermissionsBoundaryInput) -> DeleteUserPermissionsBoundaryOutput
}
