"""What alembic runs around revisions: on the connection and in the transaction it is given."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite can undo a CREATE TABLE too; alembic supposes that it cannot.
    transactional_ddl=True,
    # SQLite cannot alter a column: the table is copied then.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
