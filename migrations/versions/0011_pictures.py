"""Plans name every picture of an input, not one image alone."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        UPDATE prediction_inputs SET plan = (plan - 'image_key' - 'image_url') || jsonb_build_object(
            'picture_keys', jsonb_strip_nulls(jsonb_build_object('image', plan -> 'image_key')),
            'picture_urls', jsonb_strip_nulls(jsonb_build_object('image', plan -> 'image_url'))
        )
    """)


def downgrade() -> None:
    op.execute("""
        UPDATE prediction_inputs SET plan = (plan - 'picture_keys' - 'picture_urls' - 'negative_prompt'
            - 'true_cfg_scale' - 'preprocess_image' - 'redux_strength' - 'expand') || jsonb_build_object(
            'image_key', plan -> 'picture_keys' -> 'image', 'image_url', plan -> 'picture_urls' -> 'image'
        )
    """)
